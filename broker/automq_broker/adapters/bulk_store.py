"""The objects of a WAL without a disk, stored and read with patience: bulks, seals, and the one claim.

A store that throttles, times out or denies is asked again for as long as it takes, with the very same bytes. What became
of a conditional write without a clear answer is found out by reading back: own bytes are success, nothing there or the
claim that was built on is "again", and anything else is another process that has taken the log (Fenced). What comes
damaged is read again, until it is known to be stored so.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from crc32c import crc32c

from automq_broker.engine.damage import Damage
from automq_broker.kernel.errors import Corrupt, Fenced
from automq_broker.kernel.ids import BrokerEpoch, Lsn, NodeId
from automq_broker.lake import keys
from automq_broker.ports import (
    Bucket,
    BucketDenied,
    BucketUnavailable,
    Buffer,
    NotFound,
    ObjectStat,
    PreconditionFailed,
)
from automq_broker.wal.bulks import (
    HEADER_BYTES,
    Bulk,
    Claim,
    Log,
    decode_claim,
    decode_header,
    encode_claim,
    encode_header,
)

T = TypeVar("T")

_FIRST_DELAY_S = 0.1
_DELAY_S_MAX = 5.0
_HEADERS_AT_ONCE = 16
_DELETES_AT_ONCE = 1000


class ClaimMoved(Fenced):
    """The claim is not the one that was read or put last."""


class BulkStore:
    """One node's WAL in `bucket`. Raises only Fenced, Corrupt and Refused; never gives up otherwise."""

    def __init__(self, bucket: Bucket, node_id: NodeId, rng: random.Random) -> None:
        self.node_id = node_id
        self._bucket = bucket
        self._rng = rng
        self._claim_key = keys.wal_claim_key(node_id)
        self._claim_etag: str | None = None

    # the claim

    async def read_claim(self) -> Claim | None:
        """The claim as it stands; the next `put_claim` replaces exactly this one. None if the node has no WAL here."""
        claim, self._claim_etag = await self._look_at_claim()
        return claim

    async def check_owner(self, nonce: bytes) -> None:
        """Raises ClaimMoved unless the claim is that of the process with this nonce."""
        claim, _ = await self._look_at_claim()
        if claim is None or claim.nonce != nonce:
            raise ClaimMoved(self._taken_by(claim))

    async def _look_at_claim(self) -> tuple[Claim | None, str | None]:
        damage = Damage()
        while (found := await self._find_claim()) is not None:
            data, etag = found
            try:
                return decode_claim(data, self._claim_key), etag
            except Corrupt:
                if damage.is_stored(data):
                    raise
        return None, None

    async def put_claim(self, claim: Claim) -> None:
        """Replace the claim that was read or put last. Raises ClaimMoved if another process has done so meanwhile."""
        data, known = encode_claim(claim), self._claim_etag
        backoff = _Backoff(self._rng)
        while True:
            try:
                self._claim_etag = await self._swap_claim(data, known)
                return
            except (PreconditionFailed, BucketUnavailable, BucketDenied):
                found = await self._find_claim()
            if found is not None and found[0] == data:
                self._claim_etag = found[1]
                return
            if (None if found is None else found[1]) != known:
                raise ClaimMoved(self._taken_by(None if found is None else decode_claim(found[0], self._claim_key)))
            await backoff.wait()

    async def _swap_claim(self, data: bytes, known: str | None) -> str:
        if known is None:
            return await self._bucket.put(self._claim_key, [data], if_absent=True)
        return await self._bucket.put_if_match(self._claim_key, data, known)

    async def _find_claim(self) -> tuple[bytes, str] | None:
        try:
            return await self._patiently(lambda: self._bucket.get_with_etag(self._claim_key))
        except NotFound:
            return None

    def _taken_by(self, found: Claim | None) -> str:
        if found is None:
            return f"{self._claim_key}, the write-ahead log's claim, was deleted"
        epoch = found.logs[-1].epoch
        return f"the write-ahead log of node {self.node_id} was taken over by another process at broker epoch {epoch}"

    # bulks and seals

    def key(self, bulk: Bulk) -> str:
        """Where a bulk lies."""
        return keys.wal_bulk_key(self.node_id, bulk.epoch, bulk.number)

    async def put_bulk(self, bulk: Bulk, blocks: Sequence[Buffer]) -> None:
        """Store a bulk under its name; durable when this returns. Raises Fenced where another's bytes stand."""
        key, segments = self.key(bulk), [encode_header(bulk), *blocks]
        backoff = _Backoff(self._rng)
        while True:
            with contextlib.suppress(BucketUnavailable, BucketDenied):
                try:
                    await self._bucket.put(key, segments, if_absent=True)
                    return
                except PreconditionFailed:
                    if await self._is_ours(key, bulk):
                        return
            await backoff.wait()

    async def _is_ours(self, key: str, bulk: Bulk) -> bool:
        """Whether an earlier attempt of this very PUT stands there; False if nothing does. Raises Fenced.

        The header decides: it tells the blocks' CRC, and objects are stored whole.
        """
        try:
            found = await self._read_header(key)
        except NotFound:
            return False
        if found == bulk:
            return True
        what = "a seal" if found.is_seal else "a bulk"
        raise Fenced(f"{what} of another process stands at {key}: the write-ahead log was taken over")

    async def read_whole(self, bulk: Bulk) -> Buffer:
        """All blocks of a bulk, checked. Raises NotFound, or Corrupt when they are stored damaged."""
        key = self.key(bulk)

        def check(data: Buffer) -> Buffer:
            if crc32c(data) != bulk.crc:
                raise Corrupt(f"the blocks of {key} do not fit their CRC")
            return data

        return await self._undamaged(key, HEADER_BYTES, HEADER_BYTES + bulk.length, check)

    async def read(self, bulk: Bulk, skip: int, length: int) -> Buffer:
        """`length` bytes of a bulk's blocks, from `skip` on, unchecked; raises NotFound."""
        start = HEADER_BYTES + skip
        return await self._patiently(lambda: self._bucket.get(self.key(bulk), start, start + length))

    async def walk(self, log: Log, *, is_ending: bool) -> AsyncIterator[Bulk]:
        """The bulks of another epoch's log, from the first that is needed to its end; with `is_ending` it is ended.

        The seal is put at the first missing name: when that succeeded nothing can come any more, and where a bulk has
        come first the log goes on behind it. Raises Corrupt when a bulk is missing that was there.
        """
        number = log.first
        backoff = _Backoff(self._rng)
        while True:
            found = await self._headers(log.epoch, number)
            for bulk in found:
                if bulk.is_seal:
                    return
                yield bulk
            number += len(found)
            if len(found) == _HEADERS_AT_ONCE or await self._was_there(log.epoch, number):
                continue
            if not is_ending or await self._put_seal(log.epoch, number):
                return
            if not found:
                await backoff.wait()

    async def _headers(self, epoch: BrokerEpoch, number: int) -> list[Bulk]:
        """Bulks from `number` on, up to the first missing one."""
        wanted = range(number, number + _HEADERS_AT_ONCE)
        found: list[Bulk] = []
        read = await asyncio.gather(*(self._header(epoch, number) for number in wanted), return_exceptions=True)
        for each in read:
            if isinstance(each, BaseException):
                raise each  # only here: what lies behind the end may be anything
            if each is None:
                break
            found.append(each)
            if each.is_seal:
                break
        return found

    async def _header(self, epoch: BrokerEpoch, number: int) -> Bulk | None:
        key = keys.wal_bulk_key(self.node_id, epoch, number)
        try:
            bulk = await self._read_header(key)
        except NotFound:
            return None
        if (bulk.node_id, bulk.epoch, bulk.number) != (self.node_id, epoch, number):
            raise Corrupt(f"{key} holds another bulk: node {bulk.node_id}, epoch {bulk.epoch}, number {bulk.number}")
        return bulk

    async def _read_header(self, key: str) -> Bulk:
        return await self._undamaged(key, 0, HEADER_BYTES, lambda data: decode_header(data, key))

    async def _was_there(self, epoch: BrokerEpoch, number: int) -> bool:
        """False if nothing says that bulk `number`, which was missing, was ever stored; True if it is there after all.

        Raises Corrupt if a later bulk says so and it is still missing: it was acknowledged, and somebody deleted it.
        """
        key = keys.wal_bulk_key(self.node_id, epoch, number)
        page = await self._list(keys.wal_prefix(self.node_id, epoch), key)
        if not page:
            return False
        last = keys.parse_wal_bulk_key(page[-1].key)
        later = None if last is None else await self._header(*last)
        if later is None or later.confirmed <= number:
            return False
        if await self._header(epoch, number) is None:
            raise Corrupt(
                f"{key} is missing, and {page[-1].key} says that it was stored: the write-ahead log is damaged"
            )
        return True

    async def _put_seal(self, epoch: BrokerEpoch, number: int) -> bool:
        """End a log; False if something stands there already, or nobody can tell: look again."""
        seal = Bulk(
            node_id=self.node_id,
            epoch=epoch,
            number=number,
            generation=0,
            lsn=Lsn(0),
            length=0,
            confirmed=number,
            is_seal=True,
        )
        try:
            await self._bucket.put(self.key(seal), [encode_header(seal)], if_absent=True)
        except (PreconditionFailed, BucketUnavailable, BucketDenied):
            return False
        return True

    # what is not needed any more

    async def delete(self, bulks: Sequence[Bulk]) -> None:
        """Delete bulks; absent ones count as deleted."""
        await self._delete([self.key(bulk) for bulk in bulks])

    async def sweep(self, below: BrokerEpoch, live: frozenset[tuple[BrokerEpoch, int]]) -> None:
        """Delete the bulks of epochs below one's own that are not `live`: trims cut short, and what came behind a seal.

        SAFETY: seals stay, whatever their age; a PUT that was under way when its writer died may still arrive.
        """
        prefix = keys.wal_node_prefix(self.node_id)
        after = ""
        while page := await self._list(prefix, after):
            after = page[-1].key
            doomed = []
            for stat in page:
                place = keys.parse_wal_bulk_key(stat.key)
                if place is not None and stat.size > HEADER_BYTES and place[0] < below and place not in live:
                    doomed.append(stat.key)
            await self._delete(doomed)

    async def _delete(self, doomed: Sequence[str]) -> None:
        for first in range(0, len(doomed), _DELETES_AT_ONCE):
            await self._delete_page(doomed[first : first + _DELETES_AT_ONCE])

    async def _delete_page(self, doomed: Sequence[str]) -> None:
        await self._patiently(lambda: self._bucket.delete_many(doomed))

    async def _list(self, prefix: str, after: str) -> list[ObjectStat]:
        return await self._patiently(lambda: self._bucket.list(prefix, after))

    # patience

    async def _undamaged(self, key: str, start: int, end: int, decode: Callable[[Buffer], T]) -> T:
        """What `decode` makes of these bytes; raises NotFound, and its Corrupt only when they are stored that way."""
        damage = Damage()
        while True:
            data = await self._patiently(lambda: self._bucket.get(key, start, end))
            try:
                return decode(data)
            except Corrupt:
                if damage.is_stored(data):
                    raise

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = _Backoff(self._rng)
        while True:
            with contextlib.suppress(BucketUnavailable, BucketDenied):
                return await call()
            await backoff.wait()


class _Backoff:
    """Longer and longer waits, with jitter, up to a bound that an outage's end is noticed within."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._delay_s = _FIRST_DELAY_S

    async def wait(self) -> None:
        """The next one."""
        await asyncio.sleep(self._rng.uniform(self._delay_s / 2, self._delay_s))
        self._delay_s = min(self._delay_s * 2, _DELAY_S_MAX)


__all__ = ["BulkStore", "ClaimMoved"]
