"""The outside world as the engine sees it: a bucket, a WAL device, a clock, a pool of workers, the metadata.

Each port has few methods and at least two sides: the adapters in `adapters/` and the twins in `tests/twins`.
Adapters translate foreign exceptions once, into the families of `kernel.errors` and those below.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from automq_broker.kernel.errors import AutomqError

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class NotFound(AutomqError):
    """The key does not exist."""


class PreconditionFailed(AutomqError):
    """A conditional write lost: the key exists (if_absent) or its ETag is another (if_match)."""


class BucketUnavailable(AutomqError):
    """Throttled, timed out, reset, 5xx: the outcome of a write is UNKNOWN, a read may be tried again."""


class BucketDenied(AutomqError):
    """401, 403, NoSuchBucket, bad credentials: retrying alone will not help; the outcome of a write is unknown."""


class WalWriteFailed(AutomqError):
    """A write or sync of the WAL failed: no ack may follow, the process must end. Never retried."""


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What a store knows of a key: size in bytes, ETag as an opaque string, last change in ms since the epoch."""

    key: str
    size: int
    etag: str
    modified_ms: int


class Bucket(Protocol):
    """An object store with conditional writes; keys are relative to the cluster's prefix.

    Writes are durable when they return. Every method raises BucketUnavailable or BucketDenied; none retries by itself.
    """

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """The bytes [start, end) of the object, the whole by default; raises NotFound. A short read is an error."""

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object and the ETag of exactly those bytes; raises NotFound."""

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """Store the concatenation of `segments` (multipart above the part size) and return its ETag.

        The buffers are frozen until this returns. With `if_absent`, raises PreconditionFailed if the key exists.
        """

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object only if its ETag is `etag`; returns the new ETag; raises PreconditionFailed."""

    async def head(self, key: str) -> ObjectStat:
        """Size and ETag; raises NotFound."""

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """Up to 1000 keys below `prefix` that sort after `start_after`, in key order; empty = the end."""

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete up to 1000 keys; absent ones are no error."""

    async def close(self) -> None:
        """Release connections and locks."""


class WalDevice(Protocol):
    """A fixed-size file or block device that is opened exclusively; positions are bytes, aligned to `alignment_bytes`."""

    capacity_bytes: int
    alignment_bytes: int
    handle: str
    """Identity of the volume kept outside its bytes (serial, or device:inode:file id)."""

    def write(self, position: int, data: memoryview, done: Callable[[BaseException | None], None]) -> None:
        """Start a durable write (O_DSYNC or fdatasync included); `done` is called on the loop, in the order of the calls.

        `data` stays frozen until then. `done` gets WalWriteFailed on any error; the device then accepts no more writes.
        """

    async def read(self, position: int, length: int) -> memoryview:
        """Read from the device itself, not from a page cache where that can be avoided; raises Corrupt on EIO."""

    async def sync(self) -> None:
        """Make everything written before (by any process) durable, once, before recovery reads."""

    async def close(self) -> None:
        """Wait for writes in flight and release the exclusive lock."""


class Clock(Protocol):
    """Wall time for records and logs, monotonic time for intervals. Sleeping is the loop's."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch; may jump."""

    def monotonic(self) -> float:
        """Seconds; never goes back."""


class Workers(Protocol):
    """A bounded pool for CPU work that must not stop the loop (decompression, index building)."""

    def run(self, work: Callable[..., T], *arguments: Any) -> Awaitable[T]:
        """Run `work(*arguments)` off the loop."""


__all__ = [
    "Bucket",
    "BucketDenied",
    "BucketUnavailable",
    "Buffer",
    "Clock",
    "NotFound",
    "ObjectStat",
    "PreconditionFailed",
    "WalDevice",
    "WalWriteFailed",
    "Workers",
]
