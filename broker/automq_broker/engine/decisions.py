"""The newest decisions of this process, each with its reason: what people ask for when something moved by itself."""

import logging
from collections import deque
from typing import Final, NamedTuple

from automq_broker.ports import Clock

_log = logging.getLogger("automq.decisions")

KEPT_MAX: Final = 500


class Decided(NamedTuple):
    """`kind` is who decided (drain, fence, rescue, balance, ...), `subject` about what."""

    at_ms: int
    kind: str
    subject: str
    decision: str
    reason: str


class Decisions:
    """A bounded memory; the oldest go first. Every decision is also a line of the log."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: deque[Decided] = deque(maxlen=KEPT_MAX)

    def note(self, kind: str, subject: str, decision: str, reason: str) -> None:
        """Remember that something was decided, or refused."""
        self._kept.append(Decided(self._clock.now_ms(), kind, subject, decision, reason))
        _log.info("%s", decision, extra={"kind": kind, "subject": subject, "reason": reason})

    def newest_first(self) -> list[Decided]:
        """Everything that is kept."""
        return list(reversed(self._kept))


__all__ = ["KEPT_MAX", "Decided", "Decisions"]
