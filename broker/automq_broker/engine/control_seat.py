"""The controller's seat: who holds the head, how it is won, and how it moves forward by one commit.

Election needs no clock that is shared: a candidate watches the head's ETag with its own monotonic clock and tries
epoch + 1 when it stood still for the holder's session. Trying is always safe; the compare-and-swap decides.
"""

import asyncio
import logging
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from automq_broker.engine.control_chores import StoredSnapshot
from automq_broker.engine.control_head import Confirmed, Overtaken, PatientBucket
from automq_broker.engine.control_load import Loaded, load_state
from automq_broker.engine.control_values import ControlKnobs, Identity
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.lake.keys import DATA_PREFIX, DELTA_PREFIX, SNAPSHOT_PREFIX, WAL_PREFIX, delta_key
from automq_broker.meta.codec import encode_batch
from automq_broker.meta.head import Head
from automq_broker.meta.records import Record
from automq_broker.ports import Clock, NotFound

_log = logging.getLogger(__name__)

SESSIONS_OF_RENEWALS = 3
"""A holder that promised to renew every r seconds is given this many of them."""


class Seat:
    """One process's view of the head. After `win` it is the holder, until `commit` raises Overtaken."""

    def __init__(
        self, bucket: PatientBucket, clock: Clock, identity: Identity, knobs: ControlKnobs, rng: Random
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._identity = identity
        self._knobs = knobs
        self._rng = rng
        self._nonces = 0
        self._base: Confirmed | None = None
        self.head: Head | None = None
        """The last head that was seen, of whoever."""
        self.committed_at = 0.0
        self.commits_since_snapshot = 0
        self.bytes_since_snapshot = 0

    async def win(self) -> Loaded:
        """Become the holder, creating the cluster in an empty prefix; returns the state at the head that was won.

        Waits as long as another holder lives. Raises Refused for the prefix of another cluster, a missing head among
        other objects, a newer format.
        """
        backoff = self._bucket.backoff()
        watched, since = "", 0.0
        while True:
            found = await self._bucket.read_head()
            if found is None:
                await self.create()
                continue
            self.see(found.head)
            now = self._clock.monotonic()
            if found.etag != watched:
                watched, since = found.etag, now
            if not self.may_stand(found.head, now - since):
                await self._wait_for_holder(found.head)
                continue
            loaded = await self._stand(found)
            if loaded is not None:
                return loaded
            await asyncio.sleep(backoff.next_s())

    async def commit(self, records: Sequence[Record], snapshot: StoredSnapshot | None) -> bytes:
        """Make `records` (none: a renewal) and a stored snapshot part of the head, durably; the batch as it was stored.

        Raises Overtaken.
        """
        base = self._own_base()
        head = self._next(base.head)
        batch = b""
        if records:
            batch = encode_batch(head.seq, records)
            head = replace(head, inline=head.inline + batch)
        if snapshot is not None:
            head = snapshot.put_under(head)
            self.commits_since_snapshot = self.bytes_since_snapshot = 0
        if len(head.inline) > self._knobs.inline_bytes_max:
            key = delta_key(head.seq, head.nonce)
            await self._bucket.put(key, [head.inline])
            head = replace(head, deltas=(*head.deltas, key), inline=b"")
        self._took(await self._bucket.swap_head(head, base))
        self.commits_since_snapshot += bool(records)
        self.bytes_since_snapshot += len(batch)
        return batch

    async def release(self) -> None:
        """Tell candidates that they need not wait."""
        base = self._own_base()
        self._took(await self._bucket.swap_head(replace(self._next(base.head), is_released=True), base))

    def see(self, head: Head) -> None:
        """Take note of a head that was read. Raises Refused if it is another cluster's."""
        expected = self._identity.wal_cluster_id
        if expected and head.cluster_id != expected:
            raise Refused(f"the bucket prefix belongs to cluster {head.cluster_id}, the WAL to cluster {expected}")
        self.head = head

    def leave(self, found: Confirmed) -> None:
        """The seat is lost to `found`; only `win` brings it back."""
        self._base = None
        self.head = found.head

    def new_nonce(self) -> str:
        """A text that no other head, delta or snapshot ever had: the incarnation and a count."""
        self._nonces += 1
        return f"{self._identity.incarnation.hex}{self._nonces:x}"

    @property
    def own_head(self) -> Head:
        """The last head that this holder committed."""
        return self._own_base().head

    @property
    def is_snapshot_due(self) -> bool:
        """Whether enough was committed on top of the last snapshot."""
        return (
            self.commits_since_snapshot >= self._knobs.snapshot_commits
            or self.bytes_since_snapshot >= self._knobs.snapshot_bytes
        )

    def _own_base(self) -> Confirmed:
        assert self._base is not None, "only the holder commits"
        return self._base

    def _took(self, confirmed: Confirmed) -> None:
        self._base = confirmed
        self.head = confirmed.head
        self.committed_at = self._clock.monotonic()

    def _next(self, base: Head) -> Head:
        return replace(
            base,
            holder=self._identity.as_holder(),
            seq=base.seq + 1,
            nonce=self.new_nonce(),
            renew_s=self._knobs.renew_interval_s,
            is_released=False,
        )

    async def _stand(self, found: Confirmed) -> Loaded | None:
        """Try to take the seat of `found`; None if somebody was faster or the head moved on while it was loaded."""
        try:
            loaded = await load_state(self._bucket, found.head, self._knobs)
        except NotFound as gone:
            _log.warning("metadata moved on while it was loaded missing=%s", gone)
            return None
        return loaded if await self.take(found, loaded.commits, loaded.size_bytes) else None

    async def take(self, found: Confirmed, commits: int, size_bytes: int) -> bool:
        """Try to become the holder after `found`, with the state at it at hand; False if somebody was faster.

        `commits` and `size_bytes` say how much lies on top of the last snapshot.
        """
        head = self._next(found.head)
        try:
            self._took(await self._bucket.swap_head(replace(head, epoch=head.epoch + 1), found))
        except Overtaken as other:
            _log.info("election lost reason=%s", other)
            return False
        self.commits_since_snapshot = commits
        self.bytes_since_snapshot = size_bytes
        _log.info("controller elected node=%d epoch=%d seq=%d", self._identity.node_id, head.epoch + 1, head.seq)
        return True

    def may_stand(self, head: Head, silent_s: float) -> bool:
        """Whether the holder of `head`, which stood still for so long, may be tried: released, an own life, or silent."""
        if not self._identity.is_candidate:
            return False
        session_s = max(self._knobs.session_s, SESSIONS_OF_RENEWALS * head.renew_s)
        return head.is_released or self._identity.is_holder_of(head) or silent_s >= session_s

    async def _wait_for_holder(self, head: Head) -> None:
        if self._bucket.is_starting:
            self._bucket.is_starting = False
            _log.info("waiting for the controller node=%d endpoint=%s", head.holder.node_id, head.holder.endpoint)
        await asyncio.sleep(self._knobs.watch_interval_s * self._rng.uniform(0.75, 1.0))

    async def create(self) -> None:
        """Put the first head of a new cluster; whoever does so first, all then find one. Raises Refused to non-candidates."""
        if not self._identity.is_candidate:
            raise Refused("the bucket prefix holds no cluster: wrong bucket or prefix?")
        await self._check_prefix_is_empty()
        head = Head(
            cluster_id=self._new_cluster_id(),
            epoch=0,
            holder=self._identity.as_holder(),
            seq=0,
            nonce=self.new_nonce(),
            renew_s=self._knobs.renew_interval_s,
            is_released=True,
        )
        try:
            await self._bucket.swap_head(head, None)
        except Overtaken as other:
            _log.info("cluster created by another reason=%s", other)
        else:
            _log.info("cluster created cluster_id=%s", head.cluster_id)

    async def _check_prefix_is_empty(self) -> None:
        """A head that is missing among other objects was lost: a new one would orphan them all, and sweep them."""
        if self._base is not None or self.head is not None:
            raise Corrupt("the object meta/head was deleted by someone else")
        if self._identity.wal_cluster_id:
            raise Refused(
                f"the WAL belongs to cluster {self._identity.wal_cluster_id}, but the bucket prefix holds no cluster: "
                "wrong bucket or prefix? If its head was lost, `automq rescue` rebuilds it"
            )
        for prefix in (DELTA_PREFIX, SNAPSHOT_PREFIX, DATA_PREFIX, WAL_PREFIX):
            if page := await self._bucket.list(prefix):
                if await self._bucket.read_head() is not None:
                    return  # another process made the cluster meanwhile, and works already
                raise Refused(
                    f"the bucket prefix has objects ({page[0].key}, ...) but no head: it was lost, or this is not a "
                    "prefix for a new cluster; `automq rescue` rebuilds a lost head"
                )

    def _new_cluster_id(self) -> str:
        """A random id in the form of Kafka's: 22 characters of URL-safe base64, not beginning with '-'."""
        while True:
            text = urlsafe_b64encode(self._rng.randbytes(16)).decode().rstrip("=")
            if not text.startswith("-"):
                return text


__all__ = ["SESSIONS_OF_RENEWALS", "Seat"]
