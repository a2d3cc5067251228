"""A virtual-time loop whose ready queue is permuted by a seed, and which knows to which simulated process work belongs.

Every interleaving that it makes is one that threads of execution without an order between them could make. What a dead
process left behind, tasks and timers alike, never runs again; what a frozen one has to do waits until it thaws.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from random import Random
from typing import Any, Protocol, TypeVar

from twins.virtual_time import VirtualLoop

T = TypeVar("T")

_CALLBACKS_AT_ONCE_MAX = 200_000
"""More than any honest work does within a moment; beyond it something spins."""

_MOMENT_S = 0.001
"""Less may pass between the turns of what spins: each timer that it sets takes nanoseconds."""

_CANDIDATES = 8
"""How many of the oldest ready callbacks compete for the next turn."""


class Owner(Protocol):
    """A simulated process: it owns tasks, and dies."""

    tasks: dict["asyncio.Task[Any]", None]

    parked: list[asyncio.Handle]
    """What became ready while it was frozen."""

    @property
    def is_dead(self) -> bool:
        """Whether nothing of it may run any more."""


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)
"""The process that the running code belongs to; None for clients, faults and checks."""


class _PermutedQueue(deque[asyncio.Handle]):
    def __init__(self, rng: Random, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._rng = rng
        self.taken = 0
        self.frozen: set[Owner | None] = set()
        self._nothing = asyncio.Handle(lambda: None, (), loop)
        self._nothing.cancel()

    def popleft(self) -> asyncio.Handle:
        self.taken += 1
        chosen = self._choose()
        if self.frozen and (owner := chosen._context.get(OWNER)) in self.frozen:
            assert owner is not None
            owner.parked.append(chosen)
            return self._nothing
        return chosen

    def _choose(self) -> asyncio.Handle:
        if len(self) == 1:
            return super().popleft()
        place = int(self._rng.random() * min(len(self), _CANDIDATES))
        chosen = self[place]
        del self[place]
        return chosen


class SeededLoop(VirtualLoop):
    """`VirtualLoop` with the order of what is ready drawn from `seed`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._ready = _PermutedQueue(Random(seed), self)
        self._last_moment = 0.0
        self.set_task_factory(_owned_task)

    def freeze(self, owner: Owner) -> None:
        """SIGSTOP: nothing of the process runs until `thaw`, not even what is ready now."""
        self._ready.frozen.add(owner)

    def thaw(self, owner: Owner) -> None:
        """SIGCONT: it finds everything that became ready meanwhile."""
        if owner in self._ready.frozen:
            self._ready.frozen.remove(owner)
            self._ready.extend(owner.parked)
            owner.parked.clear()

    def thaw_all(self) -> None:
        """The end: what is left is cancelled, and has to run for that."""
        for owner in list(self._ready.frozen):
            if owner is not None:
                self.thaw(owner)

    def is_frozen(self, owner: Owner) -> bool:
        """Whether it is stopped now."""
        return owner in self._ready.frozen

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.time() - self._last_moment >= _MOMENT_S:
            self._last_moment = self.time()
            self._ready.taken = 0
        elif self._ready.taken > _CALLBACKS_AT_ONCE_MAX:
            spinning = sorted({task.get_name() for task in asyncio.all_tasks(self)})
            raise RuntimeError(f"something spins without waiting, among {spinning}: {list(self._ready)[:5]}")

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio; a timer of a process that died meanwhile does nothing."""
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is None:
            return super().call_at(when, callback, *args, context=context)

        def unless_dead() -> None:
            if not owner.is_dead:
                callback(*args)

        return super().call_at(when, unless_dead, context=context)


def _owned_task(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    context: Context | None = None,
) -> "asyncio.Task[Any]":
    owner = OWNER.get() if context is None else context.get(OWNER)
    task = asyncio.Task(work, loop=loop, context=context)
    if owner is not None:
        owner.tasks[task] = None
        task.add_done_callback(lambda done: owner.tasks.pop(done, None))
    return task


def run_seeded(work: Callable[[], Coroutine[Any, Any, T]], seed: int) -> T:
    """Run `work()` on a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: SeededLoop(seed)) as runner:
        return runner.run(work())


__all__ = ["OWNER", "Owner", "SeededLoop", "run_seeded"]
