"""The metadata of the cluster as one of many brokers sees it: following the controller, or being it.

Readers see the copy, commands go to whoever holds the seat, here or over the wire, until it has answered. A command that
met an unknown outcome is sent again unchanged at the next holder; `submit` returns only after the copy has the commit
at which the command was true, so everybody reads their own writes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from random import Random
from typing import Any, TypeVar, cast

from automq_broker.engine.control import Control, statistics
from automq_broker.engine.control_chores import TermFigures
from automq_broker.engine.control_head import Overtaken, PatientBucket
from automq_broker.engine.control_seat import Seat
from automq_broker.engine.control_term import Answered, Term
from automq_broker.engine.control_values import ControlStatistics, Identity, NotController, OutcomeUnknown, Role
from automq_broker.engine.metadata_copy import MetadataCopy
from automq_broker.engine.metadata_election import Candidate
from automq_broker.engine.metadata_late import late_nodes
from automq_broker.engine.metadata_link import ControllerLink, Outbox
from automq_broker.engine.metadata_service import MetadataService
from automq_broker.engine.metadata_values import OWN_SPEECH, ClusterKnobs, Progress, Quorum
from automq_broker.kernel.errors import AutomqError, Bug, Refused, Retry
from automq_broker.meta.command_codec import encode_command
from automq_broker.meta.commands import Command, RescueNode
from automq_broker.meta.head import Holder
from automq_broker.meta.repeats import settle_repeat
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, Clock, OnRecords, OnReload, PeerDenied, Peers, PeerUnavailable
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest, NodeHeartbeatResponse
from automq_broker.wire.apis.k20005_describe_nodes import DescribeNodesRequest, DescribeNodesResponse

R = TypeVar("R")

_log = logging.getLogger(__name__)

_LOOKS_PER_SESSION = 4
_MAY_BE_ALIVE = (NodeStatus.ACTIVE, NodeStatus.FENCED)
_GIVING_WAY_LOOKS = 5
"""How often the others may look at the head before the one that gave way stands again itself."""

_FIRST_RETRY_S = 0.05


class MetadataNode:
    """Port Metadata for one of many brokers. One per process, used from one loop.

    `identity.endpoint` is where the other brokers reach this one; `service` answers what they ask there.
    """

    def __init__(
        self,
        bucket: Bucket,
        clock: Clock,
        identity: Identity,
        peers: Peers,
        knobs: ClusterKnobs | None = None,
        *,
        rng: Random | None = None,
    ) -> None:
        self.identity = identity
        self.role = Role.LOADING
        self.knobs = knobs if knobs is not None else ClusterKnobs()
        self._clock = clock
        self._rng = rng if rng is not None else Random()
        self._bucket = PatientBucket(bucket, self._rng, self.knobs.control)
        self._seat = Seat(self._bucket, clock, identity, self.knobs.control, self._rng)
        self._copy = MetadataCopy(self.knobs.control.recent_bytes)
        self._link = ControllerLink(peers)
        self._outbox = Outbox(self._link, identity.incarnation, self.knobs, self._start_task)
        self._candidate = Candidate(
            bucket=self._bucket,
            clock=clock,
            identity=identity,
            seat=self._seat,
            copy=self._copy,
            link=self._link,
            knobs=self.knobs,
            rng=self._rng,
        )
        self.service = MetadataService(self, self._copy, clock, self.knobs)
        self.term: Term | None = None
        self._figures = TermFigures()
        self._task: asyncio.Task[None] | None = None
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their start
        self._failure: BaseException | None = None
        self._is_stopping = False
        self._has_given_way = False
        self._is_giving_way = False
        self._is_leaving = asyncio.Event()

    # --- what it shows --------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """See Metadata.state."""
        return self._copy.state

    @property
    def seq(self) -> int:
        """The commit up to which `state` is complete."""
        return self._copy.seq

    @property
    def epoch(self) -> int:
        """The highest controller epoch that was heard of."""
        return self._link.epoch

    @property
    def is_holder(self) -> bool:
        """See Metadata.is_holder."""
        return self.role is Role.HOLDER

    @property
    def holder(self) -> Holder | None:
        """Who holds the head, as far as this process has read it."""
        return self._seat.head.holder if self._seat.head else None

    @property
    def trouble(self) -> str | None:
        """Why the bucket, or the controller, does not answer just now; None if they do."""
        if self._bucket.trouble or self.role is not Role.FOLLOWER or self._candidate.is_linked:
            return self._bucket.trouble
        return f"no answer from the controller at {self._link.endpoint}"

    def statistics(self) -> ControlStatistics:
        """Figures for metrics and people."""
        return statistics(self.role, self._seat, self._copy.seq, self.term, self._figures, self._bucket)

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """See Metadata.subscribe."""
        self._copy.subscribe(on_records, on_reload)

    # --- its life -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load the metadata; then follow, or hold the seat at once if it is free or was this node's own.

        Creates the cluster in an empty prefix. Raises Refused with what the user can mend.
        """
        has_seat = await self._candidate.join()
        self.role = Role.FOLLOWER
        if has_seat:
            self._begin_term()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="metadata")
        self._task.add_done_callback(self._ended)

    def leave(self) -> None:
        """The broker begins its orderly stop: from now on a free seat is taken at once, since its last words need one."""
        self._is_leaving.set()

    async def stop(self) -> None:
        """Commit what waits and release the seat, if it is ours; end. It ends after `stop_grace_s` in any case."""
        self._is_stopping = True
        if self.term is not None and self._task is not None:
            self.term.stop()
            await asyncio.wait([self._task], timeout=self.knobs.control.stop_grace_s)
        for task in [*self._tasks, *([self._task] if self._task else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, *([self._task] if self._task else []), return_exceptions=True)
        self.role = Role.ENDED

    async def wait_ended(self) -> BaseException | None:
        """Wait until this node's part in the cluster has ended; what it failed of, or None after `stop`."""
        if self._task is not None:
            await asyncio.wait([self._task])
        return self._failure

    async def _run(self) -> None:
        try:
            while not self._is_stopping:
                if self.term is None:
                    await self._candidate.follow()
                    self._begin_term()
                await self._hold()
                if self._is_giving_way:
                    self._is_giving_way = False
                    await self._let_others_stand()
        except PeerDenied as denied:
            raise Refused(str(denied)) from denied

    async def _let_others_stand(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GIVING_WAY_LOOKS * self.knobs.control.watch_interval_s):
                await self._is_leaving.wait()

    def _begin_term(self) -> None:
        """The holder before us was silent for its session as a controller, so it is fenced as a broker until it speaks."""
        self.service.begin_term()
        ousted = self.state.nodes.get(self._candidate.ousted) if self._candidate.ousted is not None else None
        if ousted is not None:
            now = self._clock.monotonic()
            self.service.sessions.presume_silent(ousted.node_id, ousted.broker_epoch, now)
        self.term = Term(
            bucket=self._bucket,
            clock=self._clock,
            seat=self._seat,
            copy=self._copy,
            knobs=self.knobs.control,
            figures=self._figures,
        )
        self.role = Role.HOLDER

    async def _hold(self) -> None:
        assert self.term is not None
        try:
            async with self._looking_after_sessions(self.term):
                await self.term.hold()
        except Overtaken as lost:
            _log.warning("controller seat lost reason=%s", lost)
            self._seat.leave(lost.found)
            self._link.learn(lost.found.head.epoch, lost.found.head.holder.endpoint)
            self._candidate.discard()
        finally:
            self.term = None
            self.role = Role.FOLLOWER
            self._copy.tell_news()

    @contextlib.asynccontextmanager
    async def _looking_after_sessions(self, term: Term) -> AsyncIterator[None]:
        task = self._start_task("sessions", self._fence_silent_nodes(term))
        try:
            yield
        finally:
            task.cancel()

    async def _fence_silent_nodes(self, term: Term) -> None:
        """For ever, while the term lasts: fence nodes whose session ran out, and give up those that never come."""
        proposed: dict[tuple[int, int], asyncio.Future[Answered]] = {}
        while True:
            proposed = {late: answered for late, answered in proposed.items() if not answered.done()}
            for late, command, reason in late_nodes(self.state, self.service, self._clock.monotonic(), self._rng):
                if late in proposed:
                    continue
                _log.warning("node %s node=%d epoch=%d", reason, *late)
                with contextlib.suppress(NotController, Retry):  # the next look proposes it again
                    proposed[late] = answered = term.enqueue(command)
                    answered.add_done_callback(_heed)
            self._give_way_if_alone(term)
            await asyncio.sleep(self.knobs.session_s / _LOOKS_PER_SESSION)

    def _give_way_if_alone(self, term: Term) -> None:
        """Release the seat when no other broker gets through to it: the others may get through to each other.

        Liveness only. Done once until somebody is heard: the last one alive, or alone behind a cut, then keeps the seat.
        """
        now = self._clock.monotonic()
        own = self.identity.node_id
        others = [node for node in self.state.nodes.values() if node.node_id != own and node.status in _MAY_BE_ALIVE]
        if not self.service.sessions.is_alone(now):
            if self.service.sessions.has_heard_others:
                self._has_given_way = False
        elif others and not self._has_given_way and not self._is_leaving.is_set():
            _log.warning("controller seat given up reason=no other broker gets through")
            self._has_given_way = self._is_giving_way = True
            term.stop()

    def _start_task(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()
        self.role = Role.ENDED

    # --- commands -------------------------------------------------------------------------------------------------

    async def submit(self, command: Command[R]) -> R:
        """See Metadata.submit. What a broker says for itself is repeated until a controller has answered.

        Raises the refusals of `meta.commands`; Retry when no controller answered a command of somebody else within
        `submit_timeout_s`: it may or may not have been carried out.
        """
        is_patient = isinstance(command, OWN_SPEECH)
        if isinstance(command, RescueNode):
            self._heed_proof(command)
        try:
            async with asyncio.timeout(None if is_patient else self.knobs.submit_timeout_s):
                answered, is_repeat = await self._until_answered(command, is_patient)
                await self._copy.wait_seq(answered.seq)
        except TimeoutError:
            raise Retry("no controller has answered; the command may or may not have been carried out", 1.0) from None
        answer = answered.answer
        if isinstance(answer, AutomqError):
            if not is_repeat:
                raise answer
            answer = settle_repeat(command, answer, self.state)
        return cast("R", answer)

    def _heed_proof(self, command: RescueNode) -> None:
        """A rescue is asked for with proof of death; if the dead process holds the seat, nobody but it could grant one.

        The proof is of the process that was given the expected epoch, not of an adopter or of a later life of the node.
        """
        node = self.state.nodes.get(command.node_id)
        if self.term is None and node is not None and node.incarnation_epoch == command.expected_epoch:
            self._candidate.told_dead(node.incarnation)

    async def heartbeat(self, request: NodeHeartbeatRequest) -> NodeHeartbeatResponse:
        """Tell the controller that this node lives; raises NotController, PeerUnavailable or PeerDenied."""
        if self.term is not None:
            request.controller_epoch = self.epoch
            return await self.service.heartbeat(request, is_own=True)
        response: NodeHeartbeatResponse = await self._link.call(request, self.knobs.heartbeat_s + self.knobs.grace_s)
        return response

    async def quorum(self) -> Quorum:
        """Who is how far, as the controller knows it; raises Retry when it does not answer."""
        request = DescribeNodesRequest(controller_epoch=self.epoch)
        try:
            told: DescribeNodesResponse = (
                await self.service.describe_nodes(request)
                if self.term is not None
                else await self._link.call(request, self.knobs.heartbeat_s + self.knobs.grace_s)
            )
        except (NotController, PeerUnavailable, PeerDenied) as error:
            raise Retry(f"the controller does not answer: {error}", self.knobs.retry_s) from error
        followers = tuple(
            Progress(node_id=each.node_id, seq=each.applied_seq, silent_ms=each.silent_ms) for each in told.nodes
        )
        return Quorum(leader_id=told.controller_id, epoch=told.controller_epoch, seq=told.seq, followers=followers)

    async def _until_answered(self, command: Command[Any], is_patient: bool) -> tuple[Answered, bool]:
        """The first definite answer, and whether an earlier attempt may have been carried out already."""
        number = self._outbox.next_number()
        is_repeat = False
        pause_s = _FIRST_RETRY_S
        while True:
            self._check_alive()
            try:
                answered = await self._ask(number, command)
                if not is_patient or not isinstance(answered.answer, Retry):
                    return answered, is_repeat
                number, pause_s = self._outbox.next_number(), answered.answer.delay_s
            except Retry as full:
                if not is_patient:
                    raise
                pause_s = full.delay_s
            except (NotController, PeerDenied):
                pass  # nothing was done
            except (OutcomeUnknown, PeerUnavailable):
                is_repeat = True
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, self.knobs.retry_s)

    def _check_alive(self) -> None:
        if isinstance(self._failure, AutomqError):
            raise self._failure
        if self._failure is not None:
            raise Bug(f"the metadata's loop has failed: {self._failure}") from self._failure

    async def _ask(self, number: int, command: Command[Any]) -> Answered:
        if self.term is not None:
            encode_command(command)  # refuses what could not be stored: behind it a wrong field would end the term
            return await self.term.enqueue(command)
        return await self._outbox.send(number, command)


def _heed(answered: "asyncio.Future[Answered]") -> None:
    """Take the outcome of a command that nobody waits for: the next look proposes it again."""
    if not answered.cancelled():
        answered.exception()


Controlling = Control | MetadataNode
"""Port Metadata with a seat: of a lone broker, or of one among many."""

__all__ = ["Controlling", "MetadataNode"]
