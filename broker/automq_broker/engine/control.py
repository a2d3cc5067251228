"""The controller: decides commands in batches, commits them to the head object, renews, and stands for election.

One loop, one PUT of the head in flight. While it is under way, commands gather; they are decided together, on a draft
of the confirmed state, when the one before is confirmed. Readers see `state`, which only confirmed commits change, and
answers leave after the commit that they depend on. Losing the seat is no failure: what is unknown is answered as
unknown, the state is loaded anew, and the process stands for election like any other.

ORDER: delta object, head PUT confirmed, state, subscribers, answers.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

from automq_broker.engine.control_chores import Chores
from automq_broker.engine.control_head import Overtaken, PatientBucket
from automq_broker.engine.control_seat import Seat
from automq_broker.engine.control_values import (
    ControlKnobs,
    ControlStatistics,
    Identity,
    OutcomeUnknown,
    Role,
)
from automq_broker.kernel.errors import AutomqError, Bug, ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.meta.commands import Command
from automq_broker.meta.head import Holder
from automq_broker.meta.invariants import check_draft
from automq_broker.meta.records import Record
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, Clock

R = TypeVar("R")

_log = logging.getLogger(__name__)

_COMMANDS_PER_BREATH = 200
_REFUSALS = (ClientFault, Retry, NotMine, Fenced, Refused)
"""What `decide` may say no with; anything else that it raises is a bug and ends the process."""

OnRecords = Callable[[Sequence[Record]], None]
OnReload = Callable[[State], None]


class _Waiting(NamedTuple):
    command: Command[Any]
    answer: asyncio.Future[Any]


class Control:
    """The metadata of the cluster, as seen from one process. One per process, used from one loop.

    `state` is replaced by another object when the seat was lost and won again: ask for it each time.
    """

    def __init__(
        self,
        bucket: Bucket,
        clock: Clock,
        identity: Identity,
        knobs: ControlKnobs | None = None,
        *,
        rng: Random | None = None,
    ) -> None:
        self.identity = identity
        self.role = Role.LOADING
        self._knobs = knobs if knobs is not None else ControlKnobs()
        self._clock = clock
        rng = rng if rng is not None else Random()
        self._bucket = PatientBucket(bucket, rng, self._knobs)
        self._seat = Seat(self._bucket, clock, identity, self._knobs, rng)
        self._wake = asyncio.Event()
        self._chores = Chores(self._bucket, self._wake.set)
        self._state = State("")
        self._queue: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._subscribers: list[tuple[OnRecords, OnReload | None]] = []
        self._failure: BaseException | None = None
        self._is_stopping = False
        self._commits = self._commands = self._renewals = self._snapshots = 0
        self._last_commit_s = 0.0

    @property
    def state(self) -> State:
        """The confirmed metadata; read it within one step of the loop."""
        return self._state

    @property
    def holder(self) -> Holder | None:
        """Who holds the head, as far as this process knows."""
        return self._seat.head.holder if self._seat.head else None

    @property
    def trouble(self) -> str | None:
        """Why the bucket does not answer just now; None if it does."""
        return self._bucket.trouble

    def statistics(self) -> ControlStatistics:
        """Figures for metrics and people."""
        head = self._seat.head
        return ControlStatistics(
            role=self.role,
            epoch=head.epoch if head else 0,
            seq=head.seq if head else 0,
            waiting=len(self._queue),
            commits=self._commits,
            commands=self._commands,
            renewals=self._renewals,
            snapshots=self._snapshots,
            swept=self._chores.swept_total,
            unknown_outcomes=self._bucket.unknown_outcomes,
            last_commit_s=self._last_commit_s,
            commits_since_snapshot=self._seat.commits_since_snapshot,
            bytes_since_snapshot=self._seat.bytes_since_snapshot,
            trouble=self._bucket.trouble,
        )

    async def start(self) -> None:
        """Become the controller: create the cluster if the prefix is empty, else load it.

        Takes the seat at once if the recorded holder is this node's earlier life or left in good order, else waits
        until it was silent for its session. Raises Refused with what the user can mend: no access, the prefix of
        another cluster, a newer format.
        """
        await self._take_seat()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="control")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Commit what waits, release the seat, end. After `stop_grace_s` without success it ends all the same."""
        self._is_stopping = True
        self._wake.set()
        if self._task is not None:
            if self.role is Role.HOLDER:
                await asyncio.wait([self._task], timeout=self._knobs.stop_grace_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._chores.drop()
        self.role = Role.ENDED

    async def wait_ended(self) -> BaseException | None:
        """Wait until the loop has ended; what it failed of, or None after `stop`."""
        if self._task is not None:
            await asyncio.wait([self._task])
        return self._failure

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """Be told of every confirmed commit, in order, right after `state` has it; and of a `state` loaded anew.

        Called on the loop; must not wait. What a subscriber raises ends the controller's loop.
        """
        self._subscribers.append((on_records, on_reload))

    async def submit(self, command: Command[R]) -> R:
        """Have a command decided and committed; returns or raises its answer once that is durable.

        Raises the refusals of `meta.commands`; Retry when too many wait; NotMine when another node is the controller;
        OutcomeUnknown when the seat was lost meanwhile. Cancelling the wait does not cancel the command.
        """
        if self._failure is not None:
            raise Bug(f"the controller's loop has failed: {self._failure}") from self._failure
        if self.role is not Role.HOLDER or self._is_stopping:
            raise self._not_the_controller()
        if len(self._queue) >= self._knobs.queue_max:
            raise Retry(f"{len(self._queue)} metadata commands wait already", 0.5)
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return cast("R", await waiting.answer)

    async def _take_seat(self) -> None:
        loaded = await self._seat.win()
        self._bucket.is_starting = False
        self._state = loaded.state
        self.role = Role.HOLDER
        for _, on_reload in self._subscribers:
            if on_reload is not None:
                on_reload(self._state)

    async def _run(self) -> None:
        while True:
            try:
                await self._hold_seat()
            except Overtaken as lost:
                _log.warning("controller seat lost reason=%s", lost)
                self.role = Role.CANDIDATE
                self._seat.leave(lost.found)
                await self._chores.drop()
                self._refuse_queue()
                await self._take_seat()
            else:
                return

    async def _hold_seat(self) -> None:
        self._chores.start_sweep(self._seat.own_head)
        while not self._is_stopping or self._queue:
            self._chores.reap()
            if self._seat.is_snapshot_due and not self._chores.is_busy:
                await self._chores.start_snapshot(self._state, self._seat.own_head.seq, self._seat.new_nonce())
            is_renewal_due = await self._is_silent()
            if self._queue:
                await self._commit_batch()
            elif is_renewal_due:
                await self._commit(())
                self._renewals += 1
        await self._chores.drop()
        await self._seat.release()

    async def _is_silent(self) -> bool:
        """Wait for something to do; True when nothing came until the head is due for a renewal."""
        if self._queue or self._is_stopping:
            return False
        self._wake.clear()
        silent_s = self._clock.monotonic() - self._seat.committed_at
        try:
            async with asyncio.timeout(max(0.0, self._knobs.renew_interval_s - silent_s)):
                await self._wake.wait()
        except TimeoutError:
            return True
        return False

    async def _commit_batch(self) -> None:
        started = self._clock.monotonic()
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._knobs.batch_max))]
        try:
            records, answers = await self._decide(batch)
            if records:
                await self._commit(records)
        except BaseException as error:
            lost = error if isinstance(error, Bug) else OutcomeUnknown(f"unknown, ask the new controller: {error}")
            for waiting in batch:
                _answer(waiting, lost)
            raise
        for waiting, answer in zip(batch, answers, strict=True):
            _answer(waiting, answer)
        self._commands += len(batch)
        self._last_commit_s = self._clock.monotonic() - started

    async def _decide(self, batch: list[_Waiting]) -> tuple[list[Record], list[object]]:
        """Decide commands in their order, each on what those before it did; nobody else sees the draft."""
        draft = self._state.draft()
        records: list[Record] = []
        answers: list[object] = []
        for index, waiting in enumerate(batch, 1):
            try:
                decision = draft.decide(waiting.command)
            except _REFUSALS as refusal:
                answers.append(refusal)
            else:
                for record in decision.records:
                    draft.replay(record)
                records.extend(decision.records)
                answers.append(decision.result)
            if index % _COMMANDS_PER_BREATH == 0:
                await asyncio.sleep(0)
        check_draft(self._state, draft)
        return records, answers

    async def _commit(self, records: Sequence[Record]) -> None:
        snapshot = self._chores.take_snapshot()
        await self._seat.commit(records, snapshot)
        self._commits += 1
        for record in records:
            self._state.replay(record)
        for on_records, _ in self._subscribers:
            on_records(records)
        if snapshot is not None:
            self._snapshots += 1
            self._chores.start_sweep(self._seat.own_head)

    def _not_the_controller(self) -> NotMine:
        holder = self.holder
        where = f"node {holder.node_id} at {holder.endpoint}" if holder else "not known yet"
        return NotMine(f"this process is not the controller; the controller is {where}")

    def _refuse_queue(self) -> None:
        while self._queue:
            _answer(self._queue.popleft(), self._not_the_controller())

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()
        self.role = Role.ENDED
        self._refuse_queue()


def _answer(waiting: _Waiting, answer: object) -> None:
    if waiting.answer.done():
        return
    if isinstance(answer, AutomqError):
        waiting.answer.set_exception(answer)
    else:
        waiting.answer.set_result(answer)


__all__ = ["Control", "ControlKnobs", "ControlStatistics", "Identity", "OutcomeUnknown", "Role"]
