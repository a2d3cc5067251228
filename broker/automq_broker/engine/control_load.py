"""From a head to the state that it stands for: snapshot, then deltas, then what rides in the head."""

import asyncio
from dataclasses import dataclass

from automq_broker.engine.control_head import READS_OF_DAMAGE, PatientBucket
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.kernel.errors import Corrupt
from automq_broker.meta.codec import Batch, split_batches
from automq_broker.meta.head import Head
from automq_broker.meta.snapshots import restore
from automq_broker.meta.state import State

_RECORDS_PER_BREATH = 500


@dataclass(slots=True)
class Loaded:
    """The state at a head, with how much was replayed on top of the snapshot."""

    state: State
    commits: int = 0
    size_bytes: int = 0


async def load_state(bucket: PatientBucket, head: Head, knobs: ControlKnobs) -> Loaded:
    """The state at `head`. Gives way to the loop between small steps.

    Raises NotFound when a key is gone: the head has moved on, read it again (never "empty", never the end of the
    process). Raises Corrupt when bytes stay wrong, Refused for a newer format.
    """
    loaded = Loaded(State(head.cluster_id))
    if head.snapshot:
        loaded.state = await _load_snapshot(bucket, head)
    last_seq = head.snapshot_seq
    for begin in range(0, len(head.deltas), knobs.load_concurrency):
        keys = head.deltas[begin : begin + knobs.load_concurrency]
        for batches in await _load_deltas(bucket, keys):
            last_seq = await _replay(loaded, batches, last_seq)
    last_seq = await _replay(loaded, list(head.inline_batches()), last_seq)
    if last_seq > head.seq:
        raise Corrupt(f"metadata goes up to commit {last_seq}, its head only to {head.seq}")
    return loaded


async def _load_snapshot(bucket: PatientBucket, head: Head) -> State:
    for attempt in range(1, READS_OF_DAMAGE + 1):
        data = memoryview(await bucket.get(head.snapshot))
        state = State(head.cluster_id)
        try:
            for _ in restore(state, data):
                await asyncio.sleep(0)
        except Corrupt as error:
            if attempt == READS_OF_DAMAGE:
                raise Corrupt(f"{head.snapshot}: {error}") from error
        else:
            return state
    raise AssertionError("unreachable")


async def _load_deltas(bucket: PatientBucket, keys: tuple[str, ...]) -> list[list[Batch]]:
    answers = await asyncio.gather(*(_load_delta(bucket, key) for key in keys), return_exceptions=True)
    loaded: list[list[Batch]] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        loaded.append(answer)
    return loaded


async def _load_delta(bucket: PatientBucket, key: str) -> list[Batch]:
    for attempt in range(1, READS_OF_DAMAGE + 1):
        try:
            return list(split_batches(bytes(await bucket.get(key))))
        except Corrupt as error:
            if attempt == READS_OF_DAMAGE:
                raise Corrupt(f"{key}: {error}") from error
    raise AssertionError("unreachable")


async def _replay(loaded: Loaded, batches: list[Batch], last_seq: int) -> int:
    """Replay what is newer than `last_seq`; a delta may begin with batches that the snapshot holds already."""
    for batch in batches:
        if batch.seq <= last_seq:
            continue
        for index, record in enumerate(batch.records(), 1):
            loaded.state.replay(record)
            if index % _RECORDS_PER_BREATH == 0:
                await asyncio.sleep(0)
        last_seq = batch.seq
        loaded.commits += 1
        loaded.size_bytes += len(batch.whole)
        await asyncio.sleep(0)
    return last_seq


__all__ = ["Loaded", "load_state"]
