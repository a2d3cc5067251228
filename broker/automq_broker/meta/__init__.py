"""The metadata state machine: commands in, records out, named invariants; and the head object as a value.

In: commands (`commands`), each answered or refused by `State.decide` without changing anything. Out: records
(`records`), whose `State.replay` is the only way in which a state changes; `codec` and `snapshots` give both their
bytes. `head` is the one compare-and-swap object as a value. Nothing here knows a clock, a bucket or a loop: times are
fields of commands, ids and epochs come from counters in the state, and the same records always make the same state.
"""
