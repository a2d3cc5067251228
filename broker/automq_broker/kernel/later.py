"""An answer that is not there yet."""

from collections.abc import Callable
from typing import Any


class Later:
    """Resolved once, on the loop that made it; whoever waits is told at once.

    COST: what a future is for, without a turn of the loop and a context for each; one is made per produce request.
    """

    __slots__ = ("_answer", "_tell", "is_done")

    def __init__(self) -> None:
        self.is_done = False
        self._answer: Any = None
        self._tell: Callable[[Any], None] | None = None

    def resolve(self, answer: Any) -> None:
        """The answer is there. It is told from within this call, so `tell` must neither raise nor do much."""
        self.is_done = True
        if self._tell is not None:
            self._tell(answer)
        else:
            self._answer = answer

    def then(self, tell: Callable[[Any], None]) -> None:
        """Call `tell` with the answer, at once if it is there already."""
        if self.is_done:
            tell(self._answer)
        else:
            self._tell = tell


__all__ = ["Later"]
