"""The outside world as the engine sees it: a bucket, a WAL device, a clock, a pool of workers, peers, the metadata.

Each port has few methods and at least two sides: the adapters in `adapters/` and the twins in `tests/twins`.
Adapters translate foreign exceptions once, into the families of `kernel.errors` and those below.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from automq_broker.kernel.errors import AutomqError
from automq_broker.meta.commands import Command
from automq_broker.meta.records import Record
from automq_broker.meta.state import State
from automq_broker.wire.schema import Message

T = TypeVar("T")
R = TypeVar("R")
OnRecords = Callable[[Sequence[Record]], None]
OnReload = Callable[[State], None]
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
    wanted_bytes: int
    """The size that the user asks for; the device keeps its own until `resize`."""
    alignment_bytes: int
    handle: str
    """Identity of the volume kept outside its bytes (serial, or device:inode:file id)."""
    is_patient: bool
    """Whether a write may take as long as an outage does: then silence is back-pressure, and no lost device."""

    def write(self, position: int, data: memoryview, done: Callable[[BaseException | None], None]) -> None:
        """Start a durable write (O_DSYNC or fdatasync included); `done` is called on the loop, in the order of the calls.

        `data` stays frozen until then. `done` gets WalWriteFailed on any error, Fenced when another process has taken
        the WAL; no write succeeds after that. A superblock that claims the WAL gets Retry when the owner before wrote
        one meanwhile: read it and claim again.
        """

    async def read(self, position: int, length: int) -> memoryview:
        """Read from the device itself, not from a page cache where that can be avoided; raises Corrupt on EIO."""

    def resize(self, capacity_bytes: int) -> None:
        """Take another size at once, durably; what lies below both sizes stays. Only while nothing is in flight.

        Raises Refused, with the size as it was, when there is no room or the device has a fixed size.
        """

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


class PeerUnavailable(AutomqError):
    """Another broker did not answer in time, or not at all: whether it did what it was asked is UNKNOWN."""


class PeerDenied(AutomqError):
    """Another broker and this one do not accept each other: another secret, another cluster. Nothing was done."""


class Peers(Protocol):
    """The other brokers of the cluster, as this one calls them on their inter-broker listeners."""

    async def call(self, endpoint: str, request: Message, timeout_s: float) -> Any:
        """The answer of the broker at `endpoint` (host:port) to a private API; one call = one answer or an error.

        Raises PeerUnavailable and PeerDenied. Calls to one broker run side by side and may be answered in any order.
        """

    async def close(self) -> None:
        """End all connections; calls under way raise PeerUnavailable."""


class Metadata(Protocol):
    """The cluster's metadata as one process sees it: a state that only confirmed commits change, and commands."""

    @property
    def state(self) -> State:
        """The confirmed metadata, perhaps a little old; read it within one step of the loop and ask for it each time."""

    @property
    def is_holder(self) -> bool:
        """Whether this process is the controller, as far as it knows: only it looks after the cluster as a whole."""

    async def submit(self, command: Command[R]) -> R:
        """Have a command decided and committed by the controller; returns or raises its answer once that is durable.

        When it returns, `state` has what the command changed. Raises the refusals of `meta.commands`, NotMine and
        Retry where the same command may be sent again. Cancelling the wait does not cancel the command.
        """

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """Be told of every confirmed commit, in order, right after `state` has it; and of a `state` loaded anew.

        Called on the loop; must not wait. What a subscriber raises ends the process.
        """


__all__ = [
    "Bucket",
    "BucketDenied",
    "BucketUnavailable",
    "Buffer",
    "Clock",
    "Metadata",
    "NotFound",
    "ObjectStat",
    "OnRecords",
    "OnReload",
    "PeerDenied",
    "PeerUnavailable",
    "Peers",
    "PreconditionFailed",
    "WalDevice",
    "WalWriteFailed",
    "Workers",
]
