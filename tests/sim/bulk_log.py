"""A node's log in the bucket instead of on a disk: any process of the node may open it, wherever it runs, at any time."""

from contextvars import Context
from random import Random

from automq_broker.adapters.wal_bulks import BulkWal, open_bulk_wal
from automq_broker.kernel.ids import NodeId
from automq_broker.wal.bulks import NONCE_BYTES
from automq_operator.world import Proof
from twins.memory_wal import WalFaults

from sim.bucket import SimBucket


class AttachedBulks:
    """One process's way to the log. There is no disk that could fail, or be pulled from under it."""

    context: Context
    is_failed = is_pulled = False

    def __init__(self, log: "BulkLog", bucket: SimBucket, seed: int) -> None:
        self.fate = bucket.fate
        self.volume = log
        self._bucket = bucket
        self._rng = Random(seed)

    async def open(self) -> BulkWal:
        """As assembly does."""
        return await open_bulk_wal(
            self._bucket,
            NodeId(self.volume.node_id),
            handle=self.volume.handle,
            nonce=self._rng.randbytes(NONCE_BYTES),
            capacity_bytes=self.volume.size_bytes,
            rng=self._rng,
        )


class BulkLog:
    """Stands where others have a Volume. Nobody holds it, so there is nothing to wait for and nothing to release."""

    holder: str | None = None
    proof_without = Proof.UNPLACED

    def __init__(self, node_id: int, size_bytes: int) -> None:
        self.node_id = node_id
        self.size_bytes = size_bytes
        self.handle = f"data:{node_id}"
        self.faults = WalFaults()

    def attach(self, uid: str, bucket: SimBucket, seed: int) -> AttachedBulks:
        """For a process that is about to run."""
        return AttachedBulks(self, bucket, seed)

    def is_held_by(self, uid: str) -> bool:
        """Whoever runs has it."""
        return True

    def ended(self, device: AttachedBulks, seed: int, *, stays_attached: bool = False) -> None:
        """The process is gone: what it sent has arrived or has not."""

    def release(self, seed: int) -> None:
        """Nothing is taken from whoever writes to it; whoever claims it next ends what was written before."""


__all__ = ["AttachedBulks", "BulkLog"]
