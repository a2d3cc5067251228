"""The reading half of a connection: bytes in, whole requests out, in order, within limits and memory.

Reading stops, and TCP slows the sender, while any reason in `Block` holds.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from automq_broker.front.budget import SMALL_MAX
from automq_broker.front.buffers import SLAB_BYTES, FrameBuffer
from automq_broker.front.slot import Slot
from automq_broker.front.view import ConnectionView

if TYPE_CHECKING:
    from automq_broker.front.shared import Shared

_PREFIX_BYTES = 4


class Block:
    """Why a connection is not read now: bits of a plain integer, since flags of enum cost a microsecond each to test."""

    IN_FLIGHT = 1
    """As many unanswered requests as allowed."""

    UNSENT = 2
    """The peer does not read its answers."""

    MEMORY = 4
    """The budget of all connections is used up; this one waits its turn."""

    ONE_AT_A_TIME = 8
    """A second request of an API of which only one may be unanswered has arrived."""

    DRAINING = 16
    """The broker stops; what came before is answered, nothing more is read."""

    NAMES = ((1, "in_flight"), (2, "unsent"), (4, "memory"), (8, "one_at_a_time"), (16, "draining"))


class Receiver(asyncio.BufferedProtocol):
    """Cuts frames. `Connection` adds what a request means and how it is answered."""

    __slots__ = (
        "_block",
        "_buffer",
        "_closing_at",
        "_frame_size",
        "_frame_started_at",
        "_held",
        "_is_paused",
        "_is_reserved",
        "_is_taking",
        "_rest",
        "_shared",
        "_target",
        "_transport",
        "_wanted",
        "active_at",
        "bytes_in",
        "view",
    )

    def __init__(self, shared: "Shared", view: ConnectionView) -> None:
        self._shared = shared
        self.view = view
        self.active_at = view.opened_at
        self.bytes_in = 0
        self._transport: asyncio.Transport | None = None
        self._closing_at: float | None = None
        self._block = 0
        self._is_paused = False
        self._is_taking = False
        # Received bytes that were not looked at: less than a prefix, or what came behind a reason to stop.
        self._rest = b""
        # A whole request that waits for its turn.
        self._held: tuple[Slot, memoryview] | None = None
        # A request that is arriving: its buffer, and the part of it that is still missing (empty = whole).
        self._buffer: FrameBuffer | None = None
        self._target: memoryview | None = None
        self._frame_size = 0
        self._frame_started_at = 0.0
        # The size for which memory was asked, and whether it was granted and not used yet.
        self._wanted = 0
        self._is_reserved = False

    # --- called by the loop and by the budget -------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: the missing part of a request, else the slab that all connections share."""
        if self._target:
            return self._target
        buffers = self._shared.buffers
        return buffers.slab if self._shared.budget.small.available >= SLAB_BYTES else buffers.slab_when_tight

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` have arrived in the buffer that get_buffer gave out."""
        self.active_at = self._shared.monotonic()
        self.bytes_in += nbytes
        if self._target:
            self._target = self._target[nbytes:]
            if not self._target:
                self._advance()
            return
        received = self._shared.buffers.slab[:nbytes]
        if self._rest or self._block or self._is_taking:
            # Rare: a piece of a prefix was left over, or the transport delivers although it is paused.
            self._rest += received
            self._advance()
        else:
            self._advance(received)

    def granted(self) -> None:
        """The memory for the next request is reserved now."""
        self._is_reserved = True
        self._block &= ~Block.MEMORY
        self._advance()

    # --- for Connection -----------------------------------------------------------------------------------------

    def _serve(self, slot: Slot, frame: memoryview) -> None:
        """Handle one whole request; `slot` owns its memory. May set `_held` and stop reading."""
        raise NotImplementedError

    def complete(self, slot: Slot, answer: Any) -> None:
        """The answer to a request is there."""
        raise NotImplementedError

    def failed(self, slot: Slot, reason: str) -> None:
        """A request will get no answer."""
        raise NotImplementedError

    def _fail(self, api_key: int, reason: str) -> None:
        """Close because of what the peer sent."""
        raise NotImplementedError

    def close(self, reason: str) -> None:
        """Send what was written, then close."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand the collected answers to the socket."""
        raise NotImplementedError

    def _advance(self, received: memoryview | None = None) -> None:
        """Hand on what may be: `received`, a view of the slab given only if nothing waits, else what waits."""
        if self._is_taking or self._closing_at is not None:
            return
        self._is_taking = True
        try:
            if received is None:
                received = self._take_waiting()
            if received is not None:
                self._take(received)
        except BaseException:
            # Nothing a client can be told: the loop's exception handler logs it, and only this connection goes.
            self.close("failed")
            raise
        finally:
            self._is_taking = False
        self.flush()
        if self._is_paused and not self._block and self._closing_at is None and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _stop_reading(self, reason: int) -> None:
        self._block |= reason
        if not self._is_paused and self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _drop_input(self) -> None:
        """Give back the memory of what was received and will not be handed on."""
        budget = self._shared.budget
        if self._held is not None:
            self._held[0].release()
        if self._buffer is not None:
            budget.pool(self._frame_size).release(self._frame_size)
        if self._wanted and not budget.pool(self._wanted).forget(self) and self._is_reserved:
            budget.pool(self._wanted).release(self._wanted)
        self._wanted, self._is_reserved = 0, False
        self._rest, self._held, self._buffer, self._target = b"", None, None, None

    def _is_too_slow(self, now: float) -> bool:
        """Whether a request has been arriving for longer than its size allows; never while we do not read."""
        if self._block or not (self._target or self._rest):
            return False
        limits = self._shared.limits
        late = now - self._frame_started_at - limits.frame_grace_s
        received = self._frame_size - len(self._target) if self._target else len(self._rest)
        return late > 0 and received < late * limits.receive_rate_min

    # --- inside -------------------------------------------------------------------------------------------------

    def _take_waiting(self) -> memoryview | None:
        """Serve a held or just completed request; returns the bytes that waited behind it, if they may be cut now."""
        if self._held is not None and not self._block:
            slot, frame = self._held
            self._held = None
            self._serve(slot, frame)
        if self._buffer is not None and not self._target and not self._block:
            buffer, self._buffer, self._target = self._buffer, None, None
            frame_view = buffer.view
            assert frame_view is not None
            self._serve(Slot(self, self._shared, self.active_at, self._frame_size, buffer), frame_view)
        if self._block or not self._rest or self._buffer is not None:
            return None
        rest, self._rest = self._rest, b""
        return memoryview(rest)

    def _take(self, view: memoryview) -> None:
        """Cut frames off `view`; what cannot be handed on now is copied, since the slab belongs to the next read."""
        position, end = 0, len(view)
        while end - position >= _PREFIX_BYTES and not self._block:
            size = int.from_bytes(view[position : position + _PREFIX_BYTES], "big", signed=True)
            if not 0 < size <= self._frame_max():
                self._fail(-1, "bad frame length")
                return
            if not self._reserve(size):
                break
            start = position + _PREFIX_BYTES
            position = start + size
            if position > end:
                self._receive_rest(view[start:end], size)
                return
            self._serve(Slot(self, self._shared, self.active_at, size, None), memoryview(bytes(view[start:position])))
            if self._closing_at is not None:
                return
        if position < end:
            self._frame_started_at = self.active_at
            self._rest = bytes(view[position:end])

    def _frame_max(self) -> int:
        limits = self._shared.limits
        return limits.frame_max if self.view.principal is not None else limits.frame_before_authentication_max

    def _reserve(self, size: int) -> bool:
        if self._is_reserved:
            self._is_reserved, self._wanted = False, 0
            return True
        budget = self._shared.budget
        if (budget.small if size <= SMALL_MAX else budget.large).reserve(size, self):
            return True
        self._wanted = size
        self._stop_reading(Block.MEMORY)
        return False

    def _receive_rest(self, begun: memoryview, size: int) -> None:
        """Receive a request that did not arrive whole into a buffer of its exact size."""
        buffer = self._shared.buffers.take(size)
        assert buffer.view is not None
        buffer.view[: len(begun)] = begun
        self._buffer, self._frame_size = buffer, size
        self._target = buffer.view[len(begun) :]
        self._frame_started_at = self.active_at


__all__ = ["Block", "Receiver"]
