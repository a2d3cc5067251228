"""What the simulator found once, each by itself: a bucket that answers strangely, and rings that fill, end no process."""

import asyncio
from random import Random

import pytest
from automq_broker.engine.admission import Admission
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.objects import EncodedObject
from automq_broker.meta.codec import encode_batch, split_batches
from automq_broker.meta.records import StreamClosed
from crc32c import crc32c
from twins.memory_bucket import Faults, MemoryBucket, MemoryStore
from twins.virtual_time import run_virtual

BODY, TAIL = b"data", b"tail"
ENCODED = EncodedObject(segments=[BODY, TAIL], size=8, crc=crc32c(TAIL), ranges=[], index_position=4)


def test_a_conflict_that_left_no_object_is_tried_again() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        bucket = MemoryBucket(store, seed=3, faults=Faults(conflict=0.8))
        await Store(bucket, Random(1)).put_new("data/1", ENCODED)
        assert bucket.errors["conflict"] > 0
        assert store.data("data/1") == BODY + TAIL

    run_virtual(scenario())


def test_a_damaged_answer_is_no_proof_that_an_object_differs() -> None:
    async def scenario() -> None:
        bucket = MemoryBucket(seed=3, faults=Faults(corrupt_read=0.3))
        store = Store(bucket, Random(1))
        await store.put_new("data/1", ENCODED)
        for _ in range(5):
            await store.put_new("data/1", ENCODED)
        assert bucket.errors["corrupt_read"] > 0

    run_virtual(scenario())


def test_an_object_with_other_bytes_is_told() -> None:
    async def scenario() -> None:
        store = MemoryStore()
        store.plant("data/1", b"datatali")
        with pytest.raises(Corrupt, match="other bytes"):
            await Store(MemoryBucket(store), Random(1)).put_new("data/1", ENCODED)

    run_virtual(scenario())


def test_every_flipped_bit_of_a_metadata_batch_is_noticed_its_number_included() -> None:
    whole = encode_batch(7, [StreamClosed(stream_id=1)])
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt):
            list(split_batches(bytes(damaged)))


def test_a_producer_whose_batch_timed_out_in_a_full_ring_gets_none_of_the_later_ones_in() -> None:
    async def scenario() -> None:
        free = 0
        admission = Admission(knobs=EngineKnobs(), capacity_bytes=1000, free_bytes=lambda: free, press=lambda: None)
        told: list[str] = []
        deadline = asyncio.get_running_loop().time()
        for name, patience_s, producer in (("first", 1, 7), ("second", 9, 7), ("other", 9, 8), ("third", 9, 7)):
            admission.enter_or_wait(
                10,
                stream_id=1,
                is_internal=False,
                deadline=deadline + patience_s,
                enter=lambda name=name: told.append(f"{name} enters"),
                give_up=lambda name=name: told.append(f"{name} gives up"),
                sequence_of=producer,
            )
        await asyncio.sleep(2)
        assert told == ["first gives up", "second gives up", "third gives up"]
        free = 1000
        admission.drained(1000)
        assert told[3:] == ["other enters"]

    run_virtual(scenario())
