"""What happened, in order: a hash over all of it, and the end of it for people."""

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable

KEPT = 400


class Trace:
    """Events have a kind; those of kind "fault", "process" and "stopped" are kept apart: they explain a failure."""

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._hash = hashlib.blake2b(digest_size=8)
        self._show = show
        self.counts: Counter[str] = Counter()
        self.faults: deque[str] = deque(maxlen=60)
        self.recent: deque[str] = deque(maxlen=KEPT)

    def note(self, kind: str, text: str) -> None:
        """Add an event at the present virtual time."""
        line = f"{asyncio.get_running_loop().time() - 1000:9.3f} {kind:8} {text}"
        self._hash.update(line.encode())
        self.counts[kind] += 1
        self.recent.append(line)
        if kind in ("fault", "process", "stopped"):
            self.faults.append(line)
        if self._show is not None:
            self._show(line)

    def digest(self) -> str:
        """Equal for equal traces."""
        return self._hash.hexdigest()


__all__ = ["Trace"]
