"""One connection: requests handed on in the order of arrival, answers out in the same order.

A connection that died swallows the answers that still come: whoever resolves them must never see an error from here.
Source for close-or-answer: Kafka's SocketServer; frames too large, undecodable or unknown close without a reply.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from automq_broker.front.receiving import Block, Receiver
from automq_broker.front.slot import AWAITED, Slot
from automq_broker.front.values import API_VERSIONS
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import CloseConnection
from automq_broker.ports import Buffer
from automq_broker.wire.apis.k18_api_versions import ApiVersionsRequest
from automq_broker.wire.frames import (
    RequestHeader,
    UnsupportedVersion,
    WireError,
    decode_request,
    decode_request_header,
    encode_response,
)

if TYPE_CHECKING:
    from automq_broker.front.shared import Shared


_SOFTWARE_MAX = 64

_JOINED_BYTES_MAX = 16 * 1024
"""Answers up to here together are copied into one piece, which costs less than handing over the pieces."""

_TOGETHER_BYTES_MAX = 256 * 1024
"""More than this does not wait for the end of the turn."""


class Connection(Receiver):
    """Protocol of one socket. Made by Server; all state is per connection, everything common is in `Shared`."""

    __slots__ = (
        "_answered_bytes", "_exclusive", "_is_dirty", "_out", "_out_bytes", "_reason", "_slots",
        "bytes_out", "client_id", "requests",
    )  # fmt: skip

    def __init__(self, shared: "Shared", view: ConnectionView) -> None:
        super().__init__(shared, view)
        self.client_id: str | None = None
        self.requests = 0
        self.bytes_out = 0
        self._reason = "peer"
        # Requests without a sent answer, oldest first; bytes of answers that wait for an older one.
        self._slots: deque[Slot] = deque()
        self._answered_bytes = 0
        # Answers not handed to the socket yet: those of one turn of the loop leave in one call.
        self._out: list[Buffer] = []
        self._out_bytes = 0
        self._is_dirty = False
        # The request of a one-at-a-time API whose answer has not left yet.
        self._exclusive: Slot | None = None

    # --- called by the loop -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open, and its TLS handshake done."""
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        opened = cast(asyncio.Transport, transport)
        self._transport = self.view.transport = opened
        opened.set_write_buffer_limits(high=self._shared.limits.unsent_bytes)
        self._shared.registry.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone; whatever is still under way finishes unheard."""
        if self._closing_at is None:
            self._closing_at = self._shared.monotonic()
        self.view.is_closed = True
        self._transport = self.view.transport = None
        self._drop_input()
        self._out, self._out_bytes = [], 0
        slots, self._slots, self._exclusive = self._slots, deque(), None
        for slot in slots:
            slot.abandon()
        self._shared.registry.lost(self, self._reason)

    def eof_received(self) -> bool:
        """The peer sends no more; as in Kafka, nothing is answered any more either."""
        return False

    def pause_writing(self) -> None:
        """More is unsent than allowed."""
        self._stop_reading(Block.UNSENT)

    def resume_writing(self) -> None:
        """The peer has read enough of its answers."""
        self.active_at = self._shared.monotonic()
        self._go_on()

    # --- called by the server -----------------------------------------------------------------------------------

    def drain(self) -> None:
        """Read nothing more; close once all is answered, at once if only requests are left that wait by design."""
        self._stop_reading(Block.DRAINING)
        waiting = self._shared.limits.waiting
        if all(slot.header.api_key in waiting for slot in self._slots if slot.segments is None):
            self.close("stopping")

    def close(self, reason: str) -> None:
        """Send what was written, then close; further answers are dropped."""
        if self._closing_at is None and self._transport is not None:
            self.flush()
            self._reason = reason
            self._closing_at = self._shared.monotonic()
            self._drop_input()
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Close at once, with whatever is unsent."""
        if self._transport is not None:
            if self._closing_at is None:
                self._reason = reason
                self._closing_at = self._shared.monotonic()
            self._transport.abort()

    def check(self, now: float) -> None:
        """End what has gone on for too long; called about once per second."""
        limits = self._shared.limits
        if self._closing_at is not None:
            if now - self._closing_at > limits.closing_s:
                self.abort(self._reason)
        elif self.view.principal is None and now - self.view.opened_at > limits.handshake_s:
            self.abort("not authenticated in time")
        elif self._is_too_slow(now):
            self.abort("request arrives too slowly")
        elif now - self.active_at > limits.idle_s and not self._has_work():
            self.abort("idle")

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._slots)

    @property
    def blocked(self) -> tuple[str, ...]:
        """Why it is not read now, in words."""
        return tuple(name for bit, name in Block.NAMES if bit & self._block)

    # --- requests -----------------------------------------------------------------------------------------------

    def _serve(self, slot: Slot, frame: memoryview) -> None:
        shared = self._shared
        try:
            header, position = decode_request_header(frame)
            slot.header = header
            key = header.api_key
            if self._exclusive is not None and key in shared.limits.one_at_a_time:
                self._held = (slot, frame)
                self._stop_reading(Block.ONE_AT_A_TIME)
                return
            if (key, header.api_version) not in shared.accepted:
                self._refuse_version(slot)
                return
            if self.view.principal is None and key not in shared.limits.before_authentication:
                raise CloseConnection("not authenticated")
            self.client_id = header.client_id
            self.requests += 1
            request = decode_request(header, frame, position)
            if key == API_VERSIONS:
                self._note_software(request)
            self._answer(slot, shared.serve(header, request, self.view))
        except UnsupportedVersion:
            self._refuse(slot, "unsupported")
        except WireError:
            self._refuse(slot, "undecodable")
        except CloseConnection as reason:
            self._refuse(slot, str(reason) or "refused")
        except BaseException:
            slot.release()
            raise

    def _note_software(self, request: ApiVersionsRequest) -> None:
        """For /status; clients tell it from version 3 on."""
        self.view.software_name = request.client_software_name[:_SOFTWARE_MAX]
        self.view.software_version = request.client_software_version[:_SOFTWARE_MAX]

    def _refuse_version(self, slot: Slot) -> None:
        header = slot.header
        if header.api_key != API_VERSIONS:
            raise UnsupportedVersion(f"API key {header.api_key} version {header.api_version}")
        # KIP-511: a client that is newer than we are must be able to find that out.
        slot.header = RequestHeader(API_VERSIONS, 0, header.correlation_id, header.client_id)
        self._answer(slot, self._shared.unsupported_api_versions())

    def _refuse(self, slot: Slot, reason: str) -> None:
        slot.release()
        self._fail(slot.header.api_key, reason)

    # --- answers ------------------------------------------------------------------------------------------------

    def _answer(self, slot: Slot, answer: Any) -> None:
        """Give the request its place in the row of answers, and follow its answer if it comes later."""
        if isinstance(answer, AWAITED):
            self._slots.append(slot)
            limits = self._shared.limits
            if slot.header.api_key in limits.one_at_a_time:
                self._exclusive = slot
            if len(self._slots) >= limits.in_flight_requests:
                self._stop_reading(Block.IN_FLIGHT)
            slot.follow(answer)
        elif self._slots:
            self._slots.append(slot)
            self.complete(slot, answer)
        else:
            self._write(slot, () if answer is None else encode_response(slot.header, answer))

    def complete(self, slot: Slot, answer: Any) -> None:
        """The answer to `slot` is there (None: nothing is sent); send what is complete, from the oldest request on."""
        try:
            slot.segments = segments = () if answer is None else encode_response(slot.header, answer)
        except BaseException:
            self.close("failed")
            raise
        slots = self._slots
        if slots[0] is not slot:
            self._answered_bytes += sum(map(len, segments))
            if self._answered_bytes > self._shared.limits.unsent_bytes:
                self._stop_reading(Block.UNSENT)
            elif len(slots) >= self._shared.limits.in_flight_requests:
                self._stop_reading(Block.IN_FLIGHT)
            return
        while slots and (ready := slots[0].segments) is not None:
            done = slots.popleft()
            if done is not slot:
                self._answered_bytes -= sum(map(len, ready))
            self._write(done, ready)
        self._go_on()

    def failed(self, slot: Slot, reason: str) -> None:
        """The handler of `slot` ended without an answer, so there is no way to go on in order."""
        self._fail(slot.header.api_key, reason or "refused")
        slot.release()

    def _write(self, slot: Slot, segments: Sequence[Buffer]) -> None:
        size = 0
        if segments:
            size = sum(map(len, segments))
            if self._closing_at is None:
                self.bytes_out += size
                self._out += segments
                self._out_bytes += size
                if self._out_bytes > _TOGETHER_BYTES_MAX:
                    self.flush()
                elif not self._is_taking and not self._is_dirty:
                    self._is_dirty = True
                    self._shared.flush_soon(self)
        self._shared.answered(self, slot, size)

    def flush(self) -> None:
        """Hand the collected answers to the socket: small ones as one piece, large ones without joining."""
        self._is_dirty = False
        out, size = self._out, self._out_bytes
        transport = self._transport
        if not out or transport is None:
            return
        self._out, self._out_bytes = [], 0
        if len(out) == 1:
            transport.write(out[0])
        elif size <= _JOINED_BYTES_MAX:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)
        if size > _JOINED_BYTES_MAX:
            self._look_at_unsent(transport)

    def _go_on(self) -> None:
        """Lift the reasons to stop that no longer hold, and read on."""
        transport = self._transport
        if transport is None or self._closing_at is not None:
            return
        if self._block & Block.DRAINING and not self._slots:
            self.close("stopping")
            return
        limits = self._shared.limits
        if self._block & Block.IN_FLIGHT and len(self._slots) < limits.in_flight_requests:
            self._block &= ~Block.IN_FLIGHT
        if self._block & Block.UNSENT or self._exclusive is not None:
            self._look_at_unsent(transport)
        if self._is_paused and not self._block:
            self._advance()

    def _look_at_unsent(self, transport: asyncio.Transport) -> None:
        unsent = self._answered_bytes + self._out_bytes + transport.get_write_buffer_size()
        if unsent <= self._shared.limits.unsent_bytes:
            self._block &= ~Block.UNSENT
            if self._exclusive is not None and self._exclusive.segments is not None:
                self._exclusive = None
                self._block &= ~Block.ONE_AT_A_TIME
        elif not self._block & Block.UNSENT:
            # The transport may still send it all within this turn of the loop, and then would not call back.
            self._stop_reading(Block.UNSENT)
            asyncio.get_running_loop().call_soon(self._go_on)

    def _fail(self, api_key: int, reason: str) -> None:
        if self._closing_at is None:
            self._shared.meters.request_failed(api_key, reason)
            self.close(reason)

    def _has_work(self) -> bool:
        return bool(self._slots) or self._held is not None or bool(self._block & Block.MEMORY)


__all__ = ["Connection"]
