"""Which nodes are alive, as the controller knows it: when each was last heard of, and what it said of its load.

In memory only. A session that runs out decides who is fenced, never who may write: epochs do that (DESIGN, rule 3). A
new controller begins with fresh sessions for everybody, and one that was stopped for a while gives all of them anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a node told with a heartbeat. Bytes are those of the last `interval_ms`, per stream (bytes in, bytes out).

    `streams` holds the busiest ones only; `bytes_in` and `bytes_out` are of all.
    """

    interval_ms: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    streams: dict[int, tuple[int, int]] = field(default_factory=dict)
    wal_used_bytes: int = 0
    wal_capacity_bytes: int = 0
    connections: int = 0
    is_draining: bool = False
    applied_seq: int = 0


NO_LOAD = Load()


@dataclass(slots=True)
class _Session:
    broker_epoch: int
    heard_at: float
    load: Load


class Sessions:
    """One controller's view of everybody's heartbeats. Times are seconds of the controller's own monotonic clock."""

    def __init__(self, session_s: float) -> None:
        self._session_s = session_s
        self._sessions: dict[int, _Session] = {}
        self._looked_at: float | None = None
        self._others_heard_at: float | None = None
        self.has_heard_others = False
        """Whether another process ever got through to this one in its present term."""

    def heard(self, node_id: int, broker_epoch: int, load: Load, now: float) -> None:
        """A heartbeat arrived."""
        self._sessions[node_id] = _Session(broker_epoch, now, load)

    def heard_others(self, now: float) -> None:
        """Another process got through to this one, whatever it wanted."""
        self._others_heard_at = now
        self.has_heard_others = True

    def is_alone(self, now: float) -> bool:
        """Whether nobody else got through for two sessions. Ask after `expired`, which notes that we stood still."""
        return self._others_heard_at is not None and now - self._others_heard_at >= 2 * self._session_s

    def presume_silent(self, node_id: int, broker_epoch: int, now: float) -> None:
        """The node was silent for a session already, as its predecessor in the controller's seat it is known to be."""
        self._sessions[node_id] = _Session(broker_epoch, now - self._session_s, NO_LOAD)

    def expired(self, nodes: Iterable[tuple[int, int]], now: float) -> list[tuple[int, int]]:
        """Those of `nodes` (id, broker epoch) whose session ran out. Call it several times per session.

        A node that was never heard of, or registered anew, gets a session that begins now. If the last look was half
        a session ago or more, this process stood still itself and could not hear anybody: all sessions begin anew.
        """
        stood_still = self._looked_at is not None and now - self._looked_at >= self._session_s / 2
        self._looked_at = now
        if stood_still or self._others_heard_at is None:
            self._others_heard_at = now
        late = []
        known: dict[int, _Session] = {}
        for node_id, broker_epoch in nodes:
            session = self._sessions.get(node_id)
            if session is None or session.broker_epoch != broker_epoch:
                session = _Session(broker_epoch, now, NO_LOAD)
            elif stood_still:
                session.heard_at = now
            known[node_id] = session
            if now - session.heard_at >= self._session_s:
                late.append((node_id, broker_epoch))
        self._sessions = known
        return late

    def __len__(self) -> int:
        return len(self._sessions)

    def load_of(self, node_id: int) -> Load | None:
        """What the node said last; None if it was not heard of yet."""
        session = self._sessions.get(node_id)
        return None if session is None or session.load is NO_LOAD else session.load

    def silent_s(self, node_id: int, now: float) -> float | None:
        """How long ago the node was heard of; None for a node without a session."""
        session = self._sessions.get(node_id)
        return None if session is None else now - session.heard_at


__all__ = ["NO_LOAD", "Load", "Sessions"]
