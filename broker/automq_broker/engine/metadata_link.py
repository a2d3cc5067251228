"""The way from a broker to whoever holds the controller's seat: one call, and many commands in one call.

Every answer carries the controller's epoch; an answer of a lower one than is known comes from a holder that was
overtaken, and is dropped like a lost one.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from automq_broker.engine.control_term import Answered
from automq_broker.engine.control_values import NotController, OutcomeUnknown
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.kernel.errors import AutomqError, Corrupt, Refused, Retry
from automq_broker.meta.command_codec import decode_answer, encode_command
from automq_broker.meta.commands import Command
from automq_broker.ports import PeerDenied, Peers, PeerUnavailable
from automq_broker.wire.apis.k20002_submit_commands import SubmitCommandsRequest, SubmittedCommand
from automq_broker.wire.codes import ErrorCode


class ControllerLink:
    """Calls to the controller. `endpoint` and `epoch` are the highest that were heard of; the node sets them."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.endpoint: str | None = None
        self.epoch = 0
        self._calls: dict[asyncio.Task[Any], None] = {}  # in the order of their start

    def learn(self, epoch: int, endpoint: str) -> None:
        """A head was read: who holds the seat at which epoch. An older one is no news.

        Calls to the holder before are given up: behind a cut they would only end with their time.
        """
        if epoch < self.epoch:
            return
        if endpoint != self.endpoint:
            self.give_up()
        self.epoch, self.endpoint = epoch, endpoint

    def give_up(self) -> None:
        """Wait no longer for what was asked: PeerUnavailable to everybody who does."""
        for call in self._calls:
            call.cancel()

    async def call(self, request: Any, timeout_s: float) -> Any:
        """Ask the controller. Raises PeerUnavailable, PeerDenied, and NotController when it says that it is none."""
        if self.endpoint is None:
            raise NotController("the controller is not known yet")
        request.controller_epoch = self.epoch
        response = await self._until_moved(self._peers.call(self.endpoint, request, timeout_s))
        if response.error_code == ErrorCode.NOT_CONTROLLER:
            raise NotController(response.error_message or f"{self.endpoint} is not the controller")
        if response.controller_epoch < self.epoch:
            raise PeerUnavailable(f"{self.endpoint} answered at controller epoch {response.controller_epoch}")
        self.epoch = response.controller_epoch
        return response

    async def _until_moved(self, work: Coroutine[Any, Any, Any]) -> Any:
        call = asyncio.get_running_loop().create_task(work, name="call of the controller")
        self._calls[call] = None
        call.add_done_callback(lambda done: self._calls.pop(done, None))
        try:
            return await call
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise PeerUnavailable("the controller's seat went elsewhere before the answer came") from None


class _Waiting(NamedTuple):
    number: int
    payload: bytes
    answered: "asyncio.Future[Answered]"


class Outbox:
    """Commands on their way to the controller, gathered into few calls. Numbers are unique per sender.

    A command keeps its number when it is sent again after an unknown outcome, so that a controller that had it already
    gives the answer that it gave, or is about to give.
    """

    def __init__(
        self, link: ControllerLink, sender: uuid.UUID, knobs: ClusterKnobs, start_task: Callable[[str, Any], Any]
    ) -> None:
        self._link = link
        self._sender = sender
        self._knobs = knobs
        self._start_task = start_task
        self._queue: deque[_Waiting] = deque()
        self._in_flight = 0
        self._numbers = 0

    def next_number(self) -> int:
        """A number for a new command."""
        self._numbers += 1
        return self._numbers

    async def send(self, number: int, command: Command[Any]) -> Answered:
        """What the controller answered, a refusal included.

        Raises Retry when too many wait, NotController or PeerDenied when nothing was done, and OutcomeUnknown or
        PeerUnavailable when that is not known; then the command must be sent again.
        """
        if len(self._queue) >= self._knobs.control.queue_max:
            raise Retry(f"{len(self._queue)} metadata commands wait already", 0.5)
        answered: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(number, encode_command(command), answered))
        if self._in_flight < self._knobs.outbox_in_flight:
            self._in_flight += 1
            self._start_task("commands to the controller", self._drain())
        return await answered

    async def _drain(self) -> None:
        try:
            await asyncio.sleep(0)  # commands of one turn of the loop travel together
            while self._queue:
                await self._send_some(self._take())
        finally:
            self._in_flight -= 1

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        size = 0
        while self._queue and len(taken) < self._knobs.outbox_commands_max:
            size += len(self._queue[0].payload)
            if taken and size > self._knobs.outbox_bytes_max:
                break
            taken.append(self._queue.popleft())
        return taken

    async def _send_some(self, some: list[_Waiting]) -> None:
        request = SubmitCommandsRequest(
            sender=self._sender,
            commands=[SubmittedCommand(number=each.number, payload=each.payload) for each in some],
        )
        try:
            response = await self._link.call(request, self._knobs.call_timeout_s)
            if len(response.answers) != len(some):
                raise PeerUnavailable(f"{len(response.answers)} answers to {len(some)} commands")
        except BaseException as error:
            lost = error if isinstance(error, AutomqError) else PeerUnavailable("the call was given up")
            for waiting in some:
                _fail(waiting, lost)
            if not isinstance(error, NotController | PeerUnavailable | PeerDenied):
                raise
            return
        for waiting, answer in zip(some, response.answers, strict=True):
            _settle(waiting, answer)


def _settle(waiting: _Waiting, answer: Any) -> None:
    if waiting.answered.done():
        return
    if answer.error_code:
        _fail(waiting, OutcomeUnknown("the controller lost its seat meanwhile"))
        return
    try:
        waiting.answered.set_result(Answered(answer.seq, decode_answer(answer.payload)))
    except (Corrupt, Refused) as error:
        _fail(waiting, Refused(f"the controller's answer cannot be read: {error}"))


def _fail(waiting: _Waiting, error: AutomqError) -> None:
    if not waiting.answered.done():
        waiting.answered.set_exception(error)


__all__ = ["ControllerLink", "Outbox"]
