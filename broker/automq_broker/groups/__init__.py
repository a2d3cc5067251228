"""Classic consumer groups as pure state machines: events and the time in, replies and records out.

In: requests as the values of `values.py`, each with a token that stands for the waiting caller; the time as `Now`.
Out: effects. `Reply` answers a token exactly once; `Append` asks for records to be made durable and is reported back
through `on_appended`, which releases whatever may only be said after the records are safe.
Invariants: one generation per group at a time; the leader is a member; no reply that depends on a record leaves before
that record is durable; the state rebuilt from the records equals the durable part of the live state.
Refuses to know: sockets, the event loop, how records reach the log, wire formats (except `records.py`).
"""
