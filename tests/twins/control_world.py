"""Controllers on one bucket, with every change of the head on record and outcomes that a test may dictate."""

import asyncio
import contextlib
from dataclasses import dataclass
from random import Random
from typing import Any
from uuid import UUID

from automq_broker.engine.control import Control, ControlKnobs, Identity
from automq_broker.lake.keys import HEAD_KEY
from automq_broker.meta import head as heads
from automq_broker.meta.commands import ConfirmWal, CreateTopic, NodeRecovered, RegisterNode
from automq_broker.meta.head import Head
from automq_broker.meta.state import State
from automq_broker.ports import BucketUnavailable, PreconditionFailed
from twins.memory_bucket import Faults, MemoryBucket, MemoryStore
from twins.virtual_time import LoopClock


@dataclass(slots=True)
class Attempt:
    """One conditional PUT of the head: its bytes and the ETag that it named."""

    data: bytes
    etag: str


class _Recording(dict[str, Any]):
    """The store's objects; every change of the head is kept."""

    def __init__(self, history: list[bytes]) -> None:
        super().__init__()
        self._history = history

    def __setitem__(self, key: str, stored: Any) -> None:
        super().__setitem__(key, stored)
        if key == HEAD_KEY:
            self._history.append(stored.data)


class HeadBucket(MemoryBucket):
    """A client's way to the store on which PUTs of the head end as `script` says, one word each, then as usual.

    ok; lost: not applied, no answer; applied: applied, no answer; 412: not applied, 412; applied412: applied, 412;
    late: no answer, and applied `late_s` later, if it still matches. A "!" behind a word: nothing gets through any more.
    """

    def __init__(self, store: MemoryStore, *, faults: Faults | None = None, seed: int = 0) -> None:
        super().__init__(store, faults=faults, seed=seed)
        self.script: list[str] = []
        self.attempts: list[Attempt] = []
        self.late_s = 0.5
        self._late: list[asyncio.Task[None]] = []

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        attempt = Attempt(data, etag)
        self.attempts.append(attempt)
        word = self.script.pop(0) if self.script else "ok"
        word, is_cut = word.rstrip("!"), word.endswith("!")
        if word == "ok":
            return await super().put_if_match(key, data, etag)
        await asyncio.sleep(0)
        if word in ("applied", "applied412"):
            await super().put_if_match(key, data, etag)
        if word == "late":
            self._late.append(asyncio.get_running_loop().create_task(self._apply_late(key, attempt)))
        if is_cut:
            self.faults.outage = True
        if word in ("412", "applied412"):
            raise PreconditionFailed("412 (scripted)")
        raise BucketUnavailable("timed out (scripted)")

    async def _apply_late(self, key: str, attempt: Attempt) -> None:
        await asyncio.sleep(self.late_s)
        with contextlib.suppress(PreconditionFailed, BucketUnavailable):
            await super().put_if_match(key, attempt.data, attempt.etag)


class ControlWorld:
    """One store, any number of processes. `history` holds every head that was ever in the store, in order."""

    def __init__(self, knobs: ControlKnobs | None = None) -> None:
        self.history: list[bytes] = []
        self.store = MemoryStore(objects=_Recording(self.history))
        self.clock = LoopClock()
        self.knobs = knobs if knobs is not None else ControlKnobs()
        self._incarnations = 0
        self._buckets: dict[int, HeadBucket] = {}

    def bucket_of(self, control: Control) -> HeadBucket:
        """The way to the store that this process has."""
        return self._buckets[id(control)]

    def process(self, node_id: int = 0, *, wal: str = "", faults: Faults | None = None, **changes: Any) -> Control:
        """A new process of a node on the node's own volume; `wal` is the cluster id that its superblock names."""
        self._incarnations += 1
        fields: dict[str, Any] = {
            "node_id": node_id,
            "incarnation": UUID(int=0x1000 + self._incarnations),
            "endpoint": f"host-{node_id}:9092",
            "volume_uuid": UUID(int=0xD000 + node_id),
            "wal_cluster_id": wal,
        }
        bucket = HeadBucket(self.store, faults=faults, seed=self._incarnations)
        rng = Random(self._incarnations)
        control = Control(bucket, self.clock, Identity(**(fields | changes)), self.knobs, rng=rng)
        self._buckets[id(control)] = bucket
        return control

    async def started(self, node_id: int = 0, **changes: Any) -> Control:
        """A process that is the controller."""
        control = self.process(node_id, **changes)
        await control.start()
        return control

    def heads(self) -> list[Head]:
        """Every head that ever was, in order."""
        return [heads.parse(data) for data in self.history]

    def check_chain(self) -> None:
        """All heads form one chain: each continues the one before it by exactly one step."""
        for before, after in zip(self.heads(), self.heads()[1:], strict=False):
            assert after.seq == before.seq + 1
            assert after.epoch in (before.epoch, before.epoch + 1)
            assert after.cluster_id == before.cluster_id
            if after.epoch == before.epoch:
                assert after.holder == before.holder
            carried = {batch.seq: bytes(batch.whole) for batch in before.inline_batches()}
            still = {batch.seq: bytes(batch.whole) for batch in after.inline_batches()}
            if not set(after.deltas) - set(before.deltas) and after.snapshot == before.snapshot:
                assert carried.items() <= still.items(), "a committed batch was dropped"

    def keys(self, prefix: str = "meta/") -> list[str]:
        """Keys in the store."""
        return self.store.keys(prefix)


async def register(control: Control, node_id: int = 0) -> int:
    """Make a node ACTIVE, so that topics can be created; returns its broker epoch."""
    registered = await control.submit(
        RegisterNode(
            node_id=node_id,
            incarnation=control.identity.incarnation,
            volume_uuid=control.identity.volume_uuid,
            volume_handle="disk",
            wal_epoch_found=_confirmed(control.state, node_id),
        )
    )
    await control.submit(ConfirmWal(node_id=node_id, broker_epoch=registered.broker_epoch))
    await control.submit(NodeRecovered(node_id=node_id, broker_epoch=registered.broker_epoch))
    return registered.broker_epoch


def _confirmed(state: State, node_id: int) -> int:
    node = state.nodes.get(node_id)
    return node.confirmed_epoch if node else 0


def topic(number: int, partitions: int = 1) -> CreateTopic:
    """A command that can be told apart and is harmless to repeat."""
    return CreateTopic(name=f"topic-{number}", topic_id=UUID(int=0xC000 + number), partitions=partitions)


__all__ = ["Attempt", "ControlWorld", "HeadBucket", "register", "topic"]
