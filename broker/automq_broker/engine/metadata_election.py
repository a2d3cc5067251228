"""A follower's watch over the seat: keep the copy up to date, and take the seat when its holder is gone.

While the link to the holder works, confirmed batches come by long poll. When it is silent the bucket is read instead:
the head says who holds the seat now, and a head that stands still for the holder's session may be tried. So a follower
that cannot reach the holder, but the bucket, falls behind by no more than the pause between two looks.
"""

import asyncio
import contextlib
import logging
import math
from random import Random
from uuid import UUID

from automq_broker.engine.control_head import Confirmed, PatientBucket
from automq_broker.engine.control_load import load_batches, load_state
from automq_broker.engine.control_seat import Seat
from automq_broker.engine.control_values import Identity, NotController
from automq_broker.engine.metadata_copy import MetadataCopy
from automq_broker.engine.metadata_link import ControllerLink
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.codec import split_batches
from automq_broker.meta.head import Head
from automq_broker.ports import Clock, NotFound, PeerDenied, PeerUnavailable
from automq_broker.wire.apis.k20004_tail_metadata import TailMetadataRequest
from automq_broker.wire.codes import ErrorCode

_log = logging.getLogger(__name__)

_RELEASED_JITTER_S = 0.2
"""Followers do not all try a released seat in the same instant: a store answers contention slowly."""


class Candidate:
    """One process without the seat. `follow` returns when it has it."""

    def __init__(
        self,
        *,
        bucket: PatientBucket,
        clock: Clock,
        identity: Identity,
        seat: Seat,
        copy: MetadataCopy,
        link: ControllerLink,
        knobs: ClusterKnobs,
        rng: Random,
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._identity = identity
        self._seat = seat
        self._copy = copy
        self._link = link
        self._knobs = knobs
        self._rng = rng
        self._must_load = True
        self._is_linked = False
        self._was_linked = False
        self._sign_of_life = (-1, -1)
        self._alive_at = 0.0
        self._proven_dead: UUID | None = None
        self._wake = asyncio.Event()
        self.ousted: NodeId | None = None
        """The node whose seat was taken because it stood still; None if it was free."""

    @property
    def is_linked(self) -> bool:
        """Whether the last question to the holder was answered."""
        return self._is_linked

    async def join(self) -> bool:
        """The first look, of a starting process: True if the seat is ours, else the copy is loaded and we follow.

        Creates the cluster in an empty prefix. Raises Refused for the prefix of another cluster, or a newer format.
        """
        while True:
            found = await self._bucket.read_head()
            if found is None:
                await self._seat.create()
                continue
            self._bucket.is_starting = False
            self._seat.see(found.head)
            self._link.learn(found.head.epoch, found.head.holder.endpoint)
            if not await self._catch_up(found.head):
                continue
            if not self._seat.may_stand(found.head, 0.0):
                return False
            if await self._take(found):
                return True

    def discard(self) -> None:
        """The seat was lost: whatever is here is loaded anew before anything is built on it."""
        self._must_load = True
        self._is_linked = False

    def told_dead(self, incarnation: UUID) -> None:
        """Somebody has proof that this process has ended: if the head names it, its session is not waited for.

        Liveness only, and one attempt: the compare-and-swap decides as ever, also if the proof was none.
        """
        if self._seat.head is not None and self._seat.head.holder.incarnation == incarnation:
            self._proven_dead = incarnation
            self._link.give_up()
            self._wake.set()

    async def follow(self) -> None:
        """Follow until the seat is ours. Raises PeerDenied if the brokers do not accept each other from the start."""
        self._alive_at = self._clock.monotonic()
        while True:
            while await self._is_tail_alive(self._knobs.tail_wait_s):
                pass
            if await self._watch():
                return

    async def _watch(self) -> bool:
        """The link is silent: look at the head until the link is back (False) or the seat is ours (True)."""
        watched, since = "", 0.0
        while True:
            found = await self._bucket.read_head()
            if found is None:
                raise Corrupt("the object meta/head was deleted by someone else")
            now = self._clock.monotonic()
            if found.etag != watched:
                watched, since = found.etag, now
            self._seat.see(found.head)
            self._link.learn(found.head.epoch, found.head.holder.endpoint)
            is_current = await self._catch_up(found.head)
            silent_s = math.inf if found.head.holder.incarnation == self._proven_dead else now - since
            if is_current and self._seat.may_stand(found.head, silent_s):
                if found.head.is_released:
                    await asyncio.sleep(self._rng.uniform(0, _RELEASED_JITTER_S))
                if await self._take(found):
                    return True
                continue
            if await self._is_tail_alive(0.0):
                return False
            await self._pause()

    async def _pause(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._knobs.control.watch_interval_s * self._rng.uniform(0.75, 1.0)):
                await self._wake.wait()

    async def _take(self, found: Confirmed) -> bool:
        self._proven_dead = None
        commits, size_bytes = self._copy.recent.since(found.head.snapshot_seq)
        if self._copy.recent.floor_seq > found.head.snapshot_seq:
            size_bytes = self._knobs.control.snapshot_bytes  # more than is remembered: a snapshot is due
        if not await self._seat.take(found, commits, size_bytes):
            return False
        is_free = found.head.is_released or found.head.holder.node_id == self._identity.node_id
        self.ousted = None if is_free else found.head.holder.node_id
        self._link.learn(found.head.epoch + 1, self._identity.endpoint)
        self._copy.advance(found.head.seq + 1)
        self._is_linked = False
        return True

    async def _is_tail_alive(self, wait_s: float) -> bool:
        """Ask the holder once for what is new; whether it answered and its head still moves."""
        self._is_linked = await self._tail(wait_s)
        return self._is_linked

    async def _tail(self, wait_s: float) -> bool:
        if self._must_load:
            return False
        request = TailMetadataRequest(
            node_id=self._identity.node_id,
            after_seq=self._copy.seq,
            max_wait_ms=round(wait_s * 1000),
            max_bytes=self._knobs.tail_bytes_max,
        )
        try:
            response = await self._link.call(request, wait_s + self._knobs.grace_s)
        except (PeerUnavailable, NotController) as error:
            if self._is_linked:
                _log.info("controller link lost endpoint=%s reason=%s", self._link.endpoint, error)
            return False
        except PeerDenied as error:
            if not self._was_linked:
                raise
            _log.error("controller link denied endpoint=%s reason=%s", self._link.endpoint, error)
            return False
        if response.error_code == ErrorCode.OFFSET_OUT_OF_RANGE:
            self._must_load = True
            return False
        for batch in split_batches(bytes(response.batches)):
            self._copy.add_batch(batch)
        self._copy.advance(response.seq)
        self._was_linked = True
        return self._is_moving(response.controller_epoch, response.seq)

    def _is_moving(self, epoch: int, seq: int) -> bool:
        """A holder that answers but cannot renew its head is as good as gone, and the head decides."""
        now = self._clock.monotonic()
        if (epoch, seq) > self._sign_of_life:
            self._sign_of_life, self._alive_at = (epoch, seq), now
        return now - self._alive_at < self._knobs.control.session_s

    async def _catch_up(self, head: Head) -> bool:
        """Bring the copy to `head` from the bucket; False if the head moved on meanwhile."""
        try:
            if self._must_load or self._copy.seq < head.snapshot_seq:
                loaded = await load_state(self._bucket, head, self._knobs.control)
                self._must_load = False
                self._copy.replace(loaded.state, head.seq, loaded.recent)
            elif self._copy.seq < head.seq:
                for batch in await load_batches(self._bucket, head, self._copy.seq, self._knobs.control):
                    self._copy.add_batch(batch)
                self._copy.advance(head.seq)
        except NotFound as gone:
            _log.info("metadata moved on while it was loaded missing=%s", gone)
            return False
        return True


__all__ = ["Candidate"]
