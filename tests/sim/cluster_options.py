"""What a seed of many brokers expands to: the options of one, smaller work for each, and what lies between them."""

from dataclasses import replace
from random import Random

from sim.options import ClusterOptions, Options, WorkOptions, expand

MINUTE_MS = 60_000


def expand_cluster(seed: int, minutes: float, brokers: int) -> Options:
    """The options of a seed with this many brokers."""
    rng = Random(f"cluster {brokers} {seed}")
    alone = expand(seed, minutes)
    session_s = rng.choice((3.0, 6.0))
    balances = rng.random() < 0.4
    return replace(
        alone,
        work=_work(rng),
        cluster=ClusterOptions(
            brokers=brokers,
            has_disks=rng.random() < 0.75,
            session_s=session_s,
            heartbeat_s=session_s / 6,
            restart_grace_s=rng.choice((0.0, 2.0, 6.0)),
            brake_s=rng.choice((0.0, 5.0)),
            operator_interval_s=rng.choice((0.5, 2.0)),
            network_delay_s=rng.choice(((0.0, 0.0), (0.0, 0.005), (0.001, 0.08))),
            clock_offset_max_ms=rng.choice((0, 20 * MINUTE_MS)),
            balances=balances,
            move_pause_s=rng.choice((4.0, 15.0) if balances else (1.0, 4.0)),
        ),
    )


def _work(rng: Random) -> WorkOptions:
    return WorkOptions(
        topics=rng.randint(1, 2),
        partitions_max=rng.randint(1, 4),
        idempotent_producers=rng.randint(1, 2),
        plain_producers=rng.randint(0, 1),
        consumers=rng.randint(1, 2),
        groups=rng.randint(0, 1),
        batch_records_max=rng.choice((1, 3, 20)),
        record_bytes_max=rng.choice((30, 300, 3000)),
        pause_s=rng.choice((0.2, 0.5)),
        admin_pause_s=rng.choice((2.0, 10.0)),
    )


__all__ = ["expand_cluster"]
