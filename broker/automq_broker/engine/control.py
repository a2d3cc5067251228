"""The controller of a lone broker: wins the seat, holds it, and stands again when it was lost.

Many brokers have `metadata_node` in its place, which follows while it does not hold. Losing the seat is no failure: what
is unknown is answered as unknown, the state is loaded anew, and the process stands for election like any other.
"""

import asyncio
import logging
from random import Random
from typing import TypeVar, cast

from automq_broker.engine.control_chores import TermFigures
from automq_broker.engine.control_head import Overtaken, PatientBucket
from automq_broker.engine.control_seat import Seat
from automq_broker.engine.control_term import Term
from automq_broker.engine.control_values import (
    ControlKnobs,
    ControlStatistics,
    Identity,
    NotController,
    OutcomeUnknown,
    Role,
)
from automq_broker.engine.metadata_copy import MetadataCopy
from automq_broker.engine.metadata_values import Quorum
from automq_broker.kernel.errors import AutomqError, Bug, Retry
from automq_broker.meta.command_codec import encode_command
from automq_broker.meta.commands import Command
from automq_broker.meta.head import Holder
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, Clock, OnRecords, OnReload

R = TypeVar("R")

_log = logging.getLogger(__name__)


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
        self._copy = MetadataCopy(self._knobs.recent_bytes)
        self._figures = TermFigures()
        self._term: Term | None = None
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._is_stopping = False

    @property
    def state(self) -> State:
        """The confirmed metadata; read it within one step of the loop."""
        return self._copy.state

    @property
    def is_holder(self) -> bool:
        """Whether this process is the controller, as far as it knows."""
        return self.role is Role.HOLDER

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
        return statistics(self.role, self._seat, self._copy.seq, self._term, self._figures, self._bucket)

    async def start(self) -> None:
        """Become the controller: create the cluster if the prefix is empty, else load it.

        Takes the seat at once if the recorded holder is this node's earlier life or left in good order, else waits
        until it was silent for its session. Raises Refused with what the user can mend: no access, the prefix of
        another cluster, a newer format.
        """
        term = await self._take_seat()
        self._task = asyncio.get_running_loop().create_task(self._run(term), name="control")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Commit what waits, release the seat, end. After `stop_grace_s` without success it ends all the same."""
        self._is_stopping = True
        if self._term is not None:
            self._term.stop()
        if self._task is not None:
            if self.role is Role.HOLDER:
                await asyncio.wait([self._task], timeout=self._knobs.stop_grace_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.role = Role.ENDED

    async def wait_ended(self) -> BaseException | None:
        """Wait until the loop has ended; what it failed of, or None after `stop`."""
        if self._task is not None:
            await asyncio.wait([self._task])
        return self._failure

    async def quorum(self) -> Quorum:
        """This process alone, as long as it holds the seat; raises Retry while it does not."""
        if self.role is not Role.HOLDER or self._seat.head is None:
            raise Retry("this process does not hold the controller's seat", 1.0)
        return Quorum(leader_id=self.identity.node_id, epoch=self._seat.head.epoch, seq=self._copy.seq)

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """Be told of every confirmed commit, in order, right after `state` has it; and of a `state` loaded anew.

        Called on the loop; must not wait. What a subscriber raises ends the controller's loop.
        """
        self._copy.subscribe(on_records, on_reload)

    async def submit(self, command: Command[R]) -> R:
        """Have a command decided and committed; returns or raises its answer once that is durable.

        Raises the refusals of `meta.commands`; Retry when too many wait; NotMine when another node is the controller;
        OutcomeUnknown when the seat was lost meanwhile. Cancelling the wait does not cancel the command.
        """
        if self._failure is not None:
            raise Bug(f"the controller's loop has failed: {self._failure}") from self._failure
        if self.role is not Role.HOLDER or self._term is None or self._is_stopping:
            raise self._not_the_controller()
        encode_command(command)  # refuses what could not be stored: behind it a wrong field would end the term
        answer = (await self._term.enqueue(command)).answer
        if isinstance(answer, AutomqError):
            raise answer
        return cast("R", answer)

    async def _take_seat(self) -> Term:
        loaded = await self._seat.win()
        self._bucket.is_starting = False
        self._term = Term(
            bucket=self._bucket,
            clock=self._clock,
            seat=self._seat,
            copy=self._copy,
            knobs=self._knobs,
            figures=self._figures,
        )
        self.role = Role.HOLDER
        self._copy.replace(loaded.state, self._seat.own_head.seq, loaded.recent)
        return self._term

    async def _run(self, term: Term) -> None:
        while True:
            try:
                await term.hold()
            except Overtaken as lost:
                _log.warning("controller seat lost reason=%s", lost)
                self.role = Role.CANDIDATE
                self._seat.leave(lost.found)
                term = await self._take_seat()
            else:
                return

    def _not_the_controller(self) -> NotController:
        holder = self.holder
        where = f"node {holder.node_id} at {holder.endpoint}" if holder else "not known yet"
        return NotController(f"this process is not the controller; the controller is {where}")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()
        self.role = Role.ENDED


def statistics(
    role: Role, seat: Seat, seq: int, term: Term | None, figures: TermFigures, bucket: PatientBucket
) -> ControlStatistics:
    """Figures of a process that holds the seat, or might."""
    head = seat.head
    return ControlStatistics(
        role=role,
        epoch=head.epoch if head else 0,
        seq=seq,
        waiting=term.waiting if term else 0,
        commits=figures.commits,
        commands=figures.commands,
        renewals=figures.renewals,
        snapshots=figures.snapshots,
        swept=figures.swept,
        unknown_outcomes=bucket.unknown_outcomes,
        last_commit_s=figures.last_commit_s,
        batches=figures.batches,
        commit_s=figures.commit_s,
        commits_since_snapshot=seat.commits_since_snapshot,
        bytes_since_snapshot=seat.bytes_since_snapshot,
        trouble=bucket.trouble,
    )


__all__ = ["Control", "ControlKnobs", "ControlStatistics", "Identity", "OutcomeUnknown", "Role", "statistics"]
