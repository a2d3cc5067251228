"""The head object in the bucket: reading it with patience, changing it by compare-and-swap, settling unknown outcomes.

SAFETY: every answer to a PUT of the head other than success is unknown, 412 included: an inner retry may see its own
first attempt. The head is read back; own nonce = applied; the head that ours was built on = the very same bytes again,
nothing else, since the first attempt may still be on its way; any other head = the seat is lost (DESIGN 5).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from automq_broker.engine.control_values import Backoff, ControlKnobs
from automq_broker.engine.damage import Damage
from automq_broker.kernel.errors import AutomqError, Corrupt, Refused
from automq_broker.lake.keys import HEAD_KEY
from automq_broker.meta import head as heads
from automq_broker.meta.head import Head, Outcome
from automq_broker.ports import (
    Bucket,
    BucketDenied,
    BucketUnavailable,
    Buffer,
    NotFound,
    ObjectStat,
    PreconditionFailed,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A head that is known to have been in the bucket, with the ETag of exactly its bytes."""

    head: Head
    etag: str


class Overtaken(AutomqError):
    """Another head is in the bucket: this process is not the controller. Carries what was read."""

    def __init__(self, found: Confirmed) -> None:
        holder = found.head.holder
        super().__init__(f"node {holder.node_id} at {holder.endpoint} holds the head at epoch {found.head.epoch}")
        self.found = found


class PatientBucket:
    """The bucket as the controller's loop uses it: tries for as long as it takes, and says what the trouble is.

    While `is_starting`, a denial is final: the user is there to read the reason and mend it.
    """

    def __init__(self, bucket: Bucket, rng: Random, knobs: ControlKnobs) -> None:
        self.bucket = bucket
        self.trouble: str | None = None
        self.is_starting = True
        self.unknown_outcomes = 0
        self._rng = rng
        self._knobs = knobs

    def backoff(self) -> Backoff:
        """Pauses for one series of attempts."""
        return Backoff(self._rng, self._knobs)

    async def get(self, key: str) -> Buffer:
        """A whole object; raises NotFound."""
        return await self._patiently(lambda: self.bucket.get(key))

    async def put(self, key: str, segments: Sequence[Buffer]) -> None:
        """Store an object whose name nobody else uses; repeating that is harmless."""
        await self._patiently(lambda: self.bucket.put(key, segments))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """One page of keys."""
        return await self._patiently(lambda: self.bucket.list(prefix, start_after))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete keys; absent ones are no error."""
        await self._patiently(lambda: self.bucket.delete_many(keys))

    async def read_head(self) -> Confirmed | None:
        """The head as it is now; None if there is none. Raises Corrupt or Refused (a newer format)."""
        damage = Damage()
        while True:
            try:
                data, etag = await self._patiently(lambda: self.bucket.get_with_etag(HEAD_KEY))
            except NotFound:
                return None
            try:
                return Confirmed(heads.parse(data), etag)
            except (Corrupt, Refused):  # a damaged version looks like a newer one
                if damage.is_stored(data):
                    raise

    async def swap_head(self, own: Head, base: Confirmed | None) -> Confirmed:
        """Put `own` in the place of `base` (None: of nothing). Returns once that is certain; raises Overtaken.

        Not to be cancelled by anyone who then goes on: after a cancellation the outcome is unknown.
        """
        data = heads.build(own)
        backoff = self.backoff()
        while True:
            try:
                etag = await self._put_once(data, base)
            except (PreconditionFailed, BucketUnavailable, BucketDenied) as error:
                self._note(error)
                self.unknown_outcomes += 1
            else:
                self.trouble = None
                return Confirmed(own, etag)
            found = await self.read_head()
            if found is None and base is not None:
                raise Corrupt("the object meta/head was deleted by someone else")
            if found is not None:
                outcome = heads.classify(found.head, own=own, base=base.head if base else None)
                if outcome is Outcome.APPLIED:
                    return found
                if outcome is Outcome.OVERTAKEN:
                    raise Overtaken(found)
            await asyncio.sleep(backoff.next_s())

    async def _put_once(self, data: bytes, base: Confirmed | None) -> str:
        if base is None:
            return await self.bucket.put(HEAD_KEY, [data], if_absent=True)
        return await self.bucket.put_if_match(HEAD_KEY, data, base.etag)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        backoff = self.backoff()
        while True:
            try:
                answer = await call()
            except (BucketUnavailable, BucketDenied) as error:
                self._note(error)
            else:
                self.trouble = None
                return answer
            await asyncio.sleep(backoff.next_s())

    def _note(self, error: AutomqError) -> None:
        if isinstance(error, BucketDenied) and self.is_starting:
            raise Refused(f"the bucket refuses access: {error}") from error
        if not isinstance(error, PreconditionFailed):
            self.trouble = str(error)


__all__ = ["Confirmed", "Overtaken", "PatientBucket"]
