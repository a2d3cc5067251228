"""One holding of the controller's seat: commands decided in batches, committed to the head, one PUT in flight.

While a commit is under way, commands gather; they are decided together, on a draft of the confirmed state, when the one
before is confirmed. Readers see the copy, which only confirmed commits change, and answers leave after the commit that
they depend on. A term ends by release, or by Overtaken: what is unknown then is answered as unknown.

ORDER: delta object, head PUT confirmed, state, subscribers, answers.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from automq_broker.engine.control_chores import Chores, TermFigures
from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_seat import Seat
from automq_broker.engine.control_values import ControlKnobs, NotController, OutcomeUnknown
from automq_broker.engine.metadata_copy import MetadataCopy
from automq_broker.kernel.errors import AutomqError, Bug, ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.meta.commands import Command
from automq_broker.meta.invariants import check_draft
from automq_broker.meta.records import Record
from automq_broker.ports import Clock

_COMMANDS_PER_BREATH = 200
_ROWS_PER_BATCH = 6_000
_REFUSALS = (ClientFault, Retry, NotMine, Fenced, Refused)
"""What `decide` may say no with; anything else that it raises is a bug and ends the process."""


class Answered(NamedTuple):
    """What a command was answered with, a refusal included, and the commit at which that is true."""

    seq: int
    answer: object


class _Waiting(NamedTuple):
    command: Command[Any]
    answered: "asyncio.Future[Answered]"


class Term:
    """Made when the seat was won with the copy at the seat's head; `hold` runs it, `enqueue` feeds it."""

    def __init__(
        self,
        *,
        bucket: PatientBucket,
        clock: Clock,
        seat: Seat,
        copy: MetadataCopy,
        knobs: ControlKnobs,
        figures: TermFigures,
    ) -> None:
        self._clock = clock
        self._seat = seat
        self._copy = copy
        self._knobs = knobs
        self._figures = figures
        self._wake = asyncio.Event()
        self._chores = Chores(bucket, self._wake.set, figures)
        self._queue: deque[_Waiting] = deque()
        self._batch: list[_Waiting] = []
        self._is_stopping = False
        self._is_over = False
        self._is_in_doubt = False

    @property
    def waiting(self) -> int:
        """Commands without an answer: those of the commit under way, and those that gather behind it."""
        return len(self._batch) + len(self._queue)

    def stop(self) -> None:
        """Commit what waits, then release the seat."""
        self._is_stopping = True
        self._wake.set()

    def doubt(self) -> None:
        """Somebody knows a later head: find out now whether the seat is still ours."""
        self._is_in_doubt = True
        self._wake.set()

    def enqueue(self, command: Command[Any]) -> "asyncio.Future[Answered]":
        """Have a command decided and committed; the future ends once that is durable, or is known to be unknown.

        Raises Retry when too many wait, NotController when the term is over or ends. The future raises Bug,
        NotController or OutcomeUnknown.
        """
        if self._is_over or self._is_stopping:
            raise NotController("this process gives the controller's seat up")
        if len(self._queue) >= self._knobs.queue_max:
            raise Retry(f"{len(self._queue)} metadata commands wait already", 0.5)
        waiting = _Waiting(command, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._wake.set()
        return waiting.answered

    async def hold(self) -> None:
        """Commit and renew until `stop`, then release the seat. Raises Overtaken when the seat was lost."""
        try:
            self._chores.start_sweep(self._seat.own_head)
            while not self._is_stopping or self._queue:
                await self._step()
            await self._chores.drop()
            await self._seat.release()
        finally:
            self._is_over = True
            while self._queue:
                _settle(self._queue.popleft(), NotController("the controller's seat was lost"))
            await self._chores.drop()

    async def _step(self) -> None:
        self._chores.reap()
        if self._seat.is_snapshot_due and not self._chores.is_busy:
            await self._chores.start_snapshot(self._copy.state, self._seat.own_head.seq, self._seat.new_nonce())
        is_renewal_due = await self._is_silent()
        if self._queue:
            await self._commit_batch()
        elif is_renewal_due or self._is_in_doubt:
            await self._commit(())
            self._figures.renewals += 1

    async def _is_silent(self) -> bool:
        """Wait for something to do; True when nothing came until the head is due for a renewal."""
        if self._queue or self._is_stopping or self._is_in_doubt:
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
        batch = self._batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._knobs.batch_max))]
        try:
            records, answers = await self._decide(batch)
            self._queue.extendleft(reversed(batch[len(answers) :]))
            del batch[len(answers) :]
            if records or self._knobs.confirms_every_answer:
                await self._commit(records)
        except BaseException as error:
            lost = error if isinstance(error, Bug) else OutcomeUnknown(f"unknown, ask the new controller: {error}")
            for waiting in batch:
                _settle(waiting, lost)
            raise
        finally:
            self._batch = []
        for waiting, answer in zip(batch, answers, strict=True):
            _settle(waiting, Answered(self._copy.seq, answer))
        self._figures.commands += len(batch)
        self._figures.last_commit_s = self._clock.monotonic() - started
        self._figures.commit_s += self._figures.last_commit_s
        self._figures.batches += 1

    async def _decide(self, batch: list[_Waiting]) -> tuple[list[Record], list[object]]:
        """Decide commands in their order, each on what those before it did; nobody else sees the draft.

        Those behind the first `_ROWS_PER_BATCH` changes have no answer yet: whoever replays a batch does it in one step.
        """
        state = self._copy.state
        draft = state.draft()
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
            if draft.touched_rows >= _ROWS_PER_BATCH:
                break
            if index % _COMMANDS_PER_BREATH == 0:
                await asyncio.sleep(0)
        check_draft(state, draft)
        return records, answers

    async def _commit(self, records: Sequence[Record]) -> None:
        snapshot = self._chores.take_snapshot()
        data = await self._seat.commit(records, snapshot)
        self._is_in_doubt = False
        self._figures.commits += 1
        self._copy.add(self._seat.own_head.seq, data, records)
        if snapshot is not None:
            self._figures.snapshots += 1
            self._chores.start_sweep(self._seat.own_head)


def _settle(waiting: _Waiting, outcome: "Answered | AutomqError") -> None:
    if waiting.answered.done():
        return
    if isinstance(outcome, AutomqError):
        waiting.answered.set_exception(outcome)
    else:
        waiting.answered.set_result(outcome)


__all__ = ["Answered", "Term"]
