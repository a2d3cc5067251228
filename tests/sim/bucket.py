"""One process's way to the bucket: MemoryBucket with every change in the trace and deletions shown to a judge."""

from collections.abc import Callable, Sequence

from automq_broker.ports import Buffer
from twins.engine_world import MortalBucket


class SimBucket(MortalBucket):
    """`on_change(kind, key)` before a change is asked for; `on_delete(keys)` likewise."""

    on_change: Callable[[str, str], None]
    on_delete: Callable[[Sequence[str]], None]

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put."""
        self.on_change("put", f"{key} {sum(map(len, segments))}")
        return await super().put(key, segments, if_absent=if_absent)

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        self.on_change("swap", f"{key} {len(data)}")
        return await super().put_if_match(key, data, etag)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many."""
        if not self.fate.is_dead:
            self.on_delete(keys)
        self.on_change("delete", " ".join(keys))
        await super().delete_many(keys)


__all__ = ["SimBucket"]
