"""From a head to the state that it stands for: snapshot, then deltas, then what rides in the head."""

import asyncio
from dataclasses import dataclass

from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.damage import Damage
from automq_broker.engine.metadata_recent import RecentBatches
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.lake.keys import parse_meta_key
from automq_broker.meta.codec import Batch, split_batches
from automq_broker.meta.head import Head
from automq_broker.meta.snapshots import restore
from automq_broker.meta.state import State

_RECORDS_PER_BREATH = 500


@dataclass(slots=True)
class Loaded:
    """The state at a head, with how much was replayed on top of the snapshot."""

    state: State
    recent: RecentBatches
    commits: int = 0
    size_bytes: int = 0


async def load_state(bucket: PatientBucket, head: Head, knobs: ControlKnobs) -> Loaded:
    """The state at `head`. Gives way to the loop between small steps.

    Raises NotFound when a key is gone: the head has moved on, read it again (never "empty", never the end of the
    process). Raises Corrupt when bytes stay wrong, Refused for a newer format.
    """
    loaded = Loaded(State(head.cluster_id), RecentBatches(knobs.recent_bytes, head.snapshot_seq))
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


async def load_batches(bucket: PatientBucket, head: Head, after_seq: int, knobs: ControlKnobs) -> list[Batch]:
    """What `head` has on top of commit `after_seq`, which must not be below its snapshot. Raises as `load_state`."""
    keys = [key for key in head.deltas if (parsed := parse_meta_key(key)) is None or parsed.seq > after_seq]
    batches: list[Batch] = []
    for begin in range(0, len(keys), knobs.load_concurrency):
        for some in await _load_deltas(bucket, tuple(keys[begin : begin + knobs.load_concurrency])):
            batches.extend(some)
    batches.extend(head.inline_batches())
    return [batch for batch in batches if batch.seq > after_seq]


async def _load_snapshot(bucket: PatientBucket, head: Head) -> State:
    damage = Damage()
    while True:
        data = memoryview(await bucket.get(head.snapshot))
        state = State(head.cluster_id)
        try:
            for _ in restore(state, data):
                await asyncio.sleep(0)
        except (Corrupt, Refused) as error:  # a damaged version looks like a newer one
            if damage.is_stored(data):
                raise type(error)(f"{head.snapshot}: {error}") from error
        else:
            return state


async def _load_deltas(bucket: PatientBucket, keys: tuple[str, ...]) -> list[list[Batch]]:
    answers = await asyncio.gather(*(_load_delta(bucket, key) for key in keys), return_exceptions=True)
    loaded: list[list[Batch]] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        loaded.append(answer)
    return loaded


async def _load_delta(bucket: PatientBucket, key: str) -> list[Batch]:
    damage = Damage()
    while True:
        data = bytes(await bucket.get(key))
        try:
            return list(split_batches(data))
        except Corrupt as error:
            if damage.is_stored(data):
                raise Corrupt(f"{key}: {error}") from error


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
        loaded.recent.append(batch.seq, bytes(batch.whole))
        loaded.commits += 1
        loaded.size_bytes += len(batch.whole)
        await asyncio.sleep(0)
    return last_seq


__all__ = ["Loaded", "load_batches", "load_state"]
