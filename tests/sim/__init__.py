"""The deterministic simulator: the real engine on virtual time over faulty twins, judged by invariants.

`loop` runs it, `options` is what a seed expands to, `world` and `process` are machines and the programs on them, `faults`
breaks things, `producers`, `consumers` and `admin` use them, `history` and `checker` judge, `report` tells, `run` joins it.

Of many brokers: `cluster_world` has the machines with their `volume`s, `member` the programs, `network` what lies between
them, `operator` the real one at work, `truth` what was agreed on, and the other `cluster_` modules what differs from one.
"""
