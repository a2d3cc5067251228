"""What the holder of the controller's seat does for the other brokers: their commands, heartbeats, and the tail.

Serves only while this process holds the seat. A caller that knows a higher controller epoch, broker epoch or commit than
this process proves that the seat is lost: it is told so, and a commit finds it out for good.
"""

import asyncio
import uuid
from dataclasses import replace
from typing import Any, Protocol

from automq_broker.cluster.rates import Rates
from automq_broker.cluster.sessions import Load, Sessions
from automq_broker.engine.control_term import Answered, Term
from automq_broker.engine.control_values import Identity, NotController, OutcomeUnknown
from automq_broker.engine.metadata_copy import MetadataCopy
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.kernel.errors import AutomqError, Corrupt, Refused, Retry
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.command_codec import decode_command, encode_answer
from automq_broker.meta.commands import (
    AdvanceStart,
    AllocateObjectIds,
    Command,
    DeleteTopic,
    LiftFence,
    ReplaceObjects,
)
from automq_broker.meta.rows import NodeStatus
from automq_broker.ports import Clock
from automq_broker.wire.apis.k20002_submit_commands import (
    CommandAnswer,
    SubmitCommandsRequest,
    SubmitCommandsResponse,
    SubmittedCommand,
)
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest, NodeHeartbeatResponse
from automq_broker.wire.apis.k20004_tail_metadata import TailMetadataRequest, TailMetadataResponse
from automq_broker.wire.apis.k20005_describe_nodes import DescribeNodesRequest, DescribeNodesResponse, NodeProgress
from automq_broker.wire.codes import ErrorCode


class Seated(Protocol):
    """The process whose seat it is."""

    identity: Identity

    @property
    def epoch(self) -> int:
        """The highest controller epoch that it knows; its own while it holds the seat."""

    @property
    def term(self) -> Term | None:
        """The present term; None while another process holds the seat."""


class MetadataService:
    """Answers the private APIs of one process. All methods may be called at any time, on the loop."""

    def __init__(self, seated: Seated, copy: MetadataCopy, clock: Clock, knobs: ClusterKnobs) -> None:
        self._seated = seated
        self._copy = copy
        self._clock = clock
        self._knobs = knobs
        self._received: dict[uuid.UUID, dict[int, asyncio.Future[Answered]]] = {}
        self.sessions = Sessions(knobs.session_s)
        self.rates = Rates()

    def begin_term(self) -> None:
        """The seat was won: nobody was heard of yet."""
        self._received = {}
        self.sessions = Sessions(self._knobs.session_s)
        self.recoveries = Sessions(self._knobs.recovery_s)
        self.returns = Sessions(self._knobs.return_s)
        self.rates = Rates()

    async def submit_commands(self, request: SubmitCommandsRequest) -> SubmitCommandsResponse:
        """Answer when every command of the request has its answer; commands that came before are not repeated."""
        term = self._term_for(request.controller_epoch)
        if term is None:
            return SubmitCommandsResponse(
                error_code=ErrorCode.NOT_CONTROLLER, error_message=_NOT_HERE, controller_epoch=self._seated.epoch
            )
        self._heard_others()
        received = self._received_from(request.sender)
        waits = [self._enqueue(term, received, each) for each in request.commands]
        if waits:
            await asyncio.wait(waits)
        return SubmitCommandsResponse(controller_epoch=self._seated.epoch, answers=[_answer(each) for each in waits])

    async def heartbeat(self, request: NodeHeartbeatRequest, *, is_own: bool = False) -> NodeHeartbeatResponse:
        """Note that the node lives; a fenced one is back when this returns. An older epoch is told that it is gone."""
        term = self._term_for(request.controller_epoch)
        if not is_own:
            self._heard_others()
        node_id = NodeId(request.node_id)
        node = self._copy.state.nodes.get(node_id) or self._copy.state.forgotten.get(node_id)
        known_epoch = node.broker_epoch if node is not None else 0
        if term is not None and known_epoch < request.broker_epoch:
            term.doubt()
            term = None
        if term is None or node is None:
            return self._heartbeat_answer(ErrorCode.NOT_CONTROLLER, _NOT_HERE)
        if known_epoch > request.broker_epoch or node_id in self._copy.state.forgotten:
            message = (
                f"EPOCH_GONE: node {node_id} is at broker epoch {known_epoch} or forgotten, not {request.broker_epoch}"
            )
            return self._heartbeat_answer(ErrorCode.STALE_BROKER_EPOCH, message)
        load, now = load_of(request), self._clock.monotonic()
        self.sessions.heard(request.node_id, request.broker_epoch, load, now)
        self.rates.heard(request.node_id, request.broker_epoch, load, now)
        if node.status is NodeStatus.FENCED:
            lift = LiftFence(node_id=NodeId(request.node_id), broker_epoch=BrokerEpoch(request.broker_epoch))
            try:
                await asyncio.wait([term.enqueue(lift)])
            except (NotController, Retry) as busy:  # the next heartbeat tries again
                return self._heartbeat_answer(ErrorCode.NOT_CONTROLLER, str(busy))
        return self._heartbeat_answer(ErrorCode.NONE, None)

    async def tail(self, request: TailMetadataRequest) -> TailMetadataResponse:
        """Batches above `after_seq`: at once if there is a later commit, else at the next one or after `max_wait_ms`.

        A commit without records is told as well, by its number: a command that was refused, or changed nothing, is
        answered when its sender's copy has reached it.
        """
        self._heard_others()
        deadline = self._clock.monotonic() + min(request.max_wait_ms / 1000, self._knobs.tail_wait_s)
        while True:
            term = self._term_for(request.controller_epoch)
            if term is not None and request.after_seq > self._copy.seq:
                term.doubt()
                term = None
            if term is None:
                return self._tail_answer(ErrorCode.NOT_CONTROLLER, _NOT_HERE)
            if request.after_seq < self._copy.recent.floor_seq:
                return self._tail_answer(ErrorCode.OFFSET_OUT_OF_RANGE, "too far behind: load the metadata anew")
            data, last_seq = self._copy.recent.after(request.after_seq, request.max_bytes)
            left_s = deadline - self._clock.monotonic()
            if self._copy.seq > request.after_seq or left_s <= 0:
                through = self._copy.seq if last_seq is None else last_seq
                return TailMetadataResponse(controller_epoch=self._seated.epoch, seq=through, batches=data)
            await self._copy.wait_news(left_s)

    async def describe_nodes(self, request: DescribeNodesRequest) -> DescribeNodesResponse:
        """How far everybody is who was heard of in this term, the holder itself left out."""
        if self._term_for(request.controller_epoch) is None:
            return DescribeNodesResponse(
                error_code=ErrorCode.NOT_CONTROLLER, error_message=_NOT_HERE, controller_epoch=self._seated.epoch
            )
        own, now = self._seated.identity.node_id, self._clock.monotonic()
        response = DescribeNodesResponse(controller_epoch=self._seated.epoch, controller_id=own, seq=self._copy.seq)
        for node_id in sorted(self._copy.state.nodes):
            load, silent_s = self.sessions.load_of(node_id), self.sessions.silent_s(node_id, now)
            if node_id != own and load is not None and silent_s is not None:
                row = NodeProgress(node_id=node_id, applied_seq=load.applied_seq, silent_ms=round(silent_s * 1000))
                response.nodes.append(row)
        return response

    def _heard_others(self) -> None:
        self.sessions.heard_others(self._clock.monotonic())

    def _term_for(self, epoch: int) -> Term | None:
        term = self._seated.term
        if term is not None and epoch > self._seated.epoch:
            term.doubt()
            return None
        return term

    def _received_from(self, sender: uuid.UUID) -> dict[int, asyncio.Future[Answered]]:
        received = self._received.setdefault(sender, {})
        while len(self._received) > self._knobs.remembered_senders:
            del self._received[next(iter(self._received))]
        return received

    def _enqueue(
        self, term: Term, received: dict[int, asyncio.Future[Answered]], sent: SubmittedCommand
    ) -> asyncio.Future[Answered]:
        known = received.get(sent.number)
        if known is not None:
            return known
        try:
            answered = term.enqueue(_at(self._clock.now_ms(), decode_command(sent.payload)))
        except Retry as full:
            return _settled(Answered(self._copy.seq, full))  # not remembered: it may come again
        except (Corrupt, Refused) as error:
            answered = _settled(Answered(self._copy.seq, Refused(f"the command cannot be read: {error}")))
        except NotController as over:
            return _failed(over)
        received[sent.number] = answered
        while len(received) > self._knobs.remembered_commands and (oldest := next(iter(received))) != sent.number:
            if not received[oldest].done():
                break
            del received[oldest]
        return answered

    def _heartbeat_answer(self, code: ErrorCode, message: str | None) -> NodeHeartbeatResponse:
        return NodeHeartbeatResponse(error_code=code, error_message=message, controller_epoch=self._seated.epoch)

    def _tail_answer(self, code: ErrorCode, message: str) -> TailMetadataResponse:
        return TailMetadataResponse(error_code=code, error_message=message, controller_epoch=self._seated.epoch)


_TIMED = (AdvanceStart, AllocateObjectIds, DeleteTopic, ReplaceObjects)
_NOT_HERE = "this broker is not the controller"


def load_of(request: NodeHeartbeatRequest) -> Load:
    """The load report of a heartbeat."""
    return Load(
        interval_ms=request.interval_ms,
        bytes_in=request.bytes_in,
        bytes_out=request.bytes_out,
        streams={each.stream_id: (each.bytes_in, each.bytes_out) for each in request.partitions},
        wal_used_bytes=request.wal_used_bytes,
        wal_capacity_bytes=request.wal_capacity_bytes,
        connections=request.connections,
        is_draining=request.is_draining,
        applied_seq=request.applied_seq,
    )


def _at(now_ms: int, command: Command[Any]) -> Command[Any]:
    """The command with the controller's time in it: leases and grace periods end by the clock of one process, the one that
    ends them. By a sender's clock that is behind, a lease would be over when it begins."""
    return replace(command, now_ms=now_ms) if isinstance(command, _TIMED) else command


def _answer(answered: "asyncio.Future[Answered]") -> CommandAnswer:
    error = asyncio.CancelledError() if answered.cancelled() else answered.exception()
    if error is None:
        seq, answer = answered.result()
        return CommandAnswer(seq=seq, payload=encode_answer(answer))
    if isinstance(error, NotController | OutcomeUnknown | asyncio.CancelledError):
        return CommandAnswer(error_code=ErrorCode.NOT_CONTROLLER)
    raise error


def _settled(answer: Answered) -> "asyncio.Future[Answered]":
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    future.set_result(answer)
    return future


def _failed(error: AutomqError) -> "asyncio.Future[Answered]":
    future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


__all__ = ["MetadataService", "load_of"]
