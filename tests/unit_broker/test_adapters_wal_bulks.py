"""A WAL without a disk: acknowledged in order, taken over by claim and seal, trimmed by whole bulks, patient with its store."""

import asyncio
import random
from dataclasses import replace

import pytest
from automq_broker.kernel.errors import Corrupt, Fenced
from automq_broker.lake.keys import parse_wal_bulk_key, wal_bulk_key, wal_claim_key, wal_node_prefix
from automq_broker.wal.bulks import HEADER_BYTES, decode_header, encode_header
from twins.bulk_world import NODE, Chooser, Process, TurnBucket, Turns, every_order, settled
from twins.memory_bucket import Faults, MemoryBucket, MemoryStore
from twins.virtual_time import run_virtual

A, B, C = b"a" * 100, b"b" * 100, b"c" * 100


async def appended(process: Process, *values: bytes) -> list[int]:
    """One bulk for each; all are on their way when this returns."""
    lsns = []
    for value in values:
        lsns.append(process.append(value))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return lsns


async def started(store: MemoryStore, epoch: int = 1, **faults: float) -> Process:
    process = Process(MemoryBucket(store, seed=epoch, faults=Faults(**faults)), epoch)
    await process.start()
    return process


def bulks_in(store: MemoryStore) -> list[tuple[int, int]]:
    """(epoch, number) of every bulk, seals left out."""
    found = []
    for key in store.keys(wal_node_prefix(NODE)):
        place = parse_wal_bulk_key(key)
        if place is not None and not decode_header(store.data(key), key).is_seal:
            found.append(place)
    return found


# order, and what a bulk is


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_acks_come_in_the_order_of_the_log_whatever_the_store_does_first(order):
    async def scenario():
        turns = Turns()
        owner = Process(TurnBucket("Z", MemoryStore(), turns), 1)
        await owner.start()
        await appended(owner, b"opening")
        await settled()
        assert owner.acked == [b"opening"]
        turns.begin()
        await appended(owner, A, B, C)
        stored: set[int] = set()
        for number in order:
            (lane,) = [lane for lane in turns.lanes if lane.endswith(f"{number + 1:020d}")]
            await turns.let(lane)
            await turns.let(f"{lane}, hears of it")
            stored.add(number)
            whole = next((count for count in range(3) if count not in stored), 3)
            assert owner.acked == [b"opening", A, B, C][: 1 + whole]

    run_virtual(scenario())


def test_what_is_handed_over_in_one_turn_is_one_bulk_and_many_are_on_their_way():
    async def scenario():
        store = MemoryStore()
        owner = await started(store, latency_s=(1.0, 1.0))
        for value in (A, B, C):
            owner.append(value)
        await asyncio.sleep(0.1)
        for _ in range(9):
            await appended(owner, A)
        begun = asyncio.get_running_loop().time()
        while len(owner.acked) < 12:
            await asyncio.sleep(0.1)
        assert asyncio.get_running_loop().time() - begun < 1.2
        assert bulks_in(store) == [(1, number) for number in range(10)]

    run_virtual(scenario())


def test_no_more_than_fifty_bulks_are_on_their_way():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        owner.bucket.faults = Faults(latency_s=(1.0, 1.0))
        await appended(owner, *[b"%d" % number for number in range(120)])
        await asyncio.sleep(1.01)
        assert len(bulks_in(store)) == 50
        await asyncio.sleep(2)
        assert owner.acked == [b"%d" % number for number in range(120)]

    run_virtual(scenario())


def test_a_restart_finds_every_record_and_goes_on_in_a_log_of_its_own():
    async def scenario():
        store = MemoryStore()
        first = await started(store)
        await appended(first, A, B)
        await asyncio.sleep(1)
        second = await started(store, 2)
        assert second.recovered == [A, B]
        await appended(second, C)
        await asyncio.sleep(1)
        third = await started(store, 3)
        assert third.recovered == [A, B, C]
        assert bulks_in(store) == [(1, 0), (1, 1), (2, 0)]

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(20))
def test_a_line_that_damages_one_read_after_the_other_costs_a_recovery_time_and_no_record(seed):
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        values = [bytes([65 + number]) * 5000 for number in range(6)]
        await appended(owner, *values)
        await asyncio.sleep(1)
        assert owner.acked == values
        after = Process(MemoryBucket(store, seed=seed, faults=Faults(corrupt_read=0.5)), 2)
        await after.start()
        assert after.recovered == values

    run_virtual(scenario())


def test_blocks_that_are_stored_damaged_are_damage_and_no_torn_end():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        await appended(owner, A, B)
        await asyncio.sleep(1)
        key = wal_bulk_key(NODE, 1, 1)
        data = bytearray(store.data(key))
        data[-1] ^= 1
        store.plant(key, bytes(data))
        with pytest.raises(Corrupt, match="do not fit their CRC"):
            await started(store, 2)

    run_virtual(scenario())


def test_a_large_record_over_several_bulks_comes_back_whole_or_not_at_all():
    async def scenario():
        large = random.Random(1).randbytes(1_700_000)
        store = MemoryStore()
        first = await started(store)
        await appended(first, large)
        await asyncio.sleep(1)
        second = await started(store, 2)
        assert second.recovered == [large]
        await appended(second, A)
        await asyncio.sleep(1)
        assert (await started(store, 3)).recovered == [large, A]

    run_virtual(scenario())


# the fence


def test_an_owner_that_meets_a_seal_stops_and_acknowledges_nothing_more():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        await appended(owner, A)
        await asyncio.sleep(1)
        adopter = await started(store, 2)
        await appended(owner, B, C)
        await asyncio.sleep(1)
        assert owner.acked == [A]
        assert isinstance(owner.failure, Fenced)
        assert "a seal of another process stands at wal/" in str(owner.failure)
        assert adopter.recovered == [A]
        await appended(owner, b"later")
        await asyncio.sleep(1)
        assert owner.acked == [A]

    run_virtual(scenario())


def test_an_idle_owner_learns_from_its_next_superblock_that_it_was_taken_over():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        await started(store, 2)
        owner.write_superblock()
        await asyncio.sleep(1)
        assert isinstance(owner.failure, Fenced)
        assert "taken over by another process at broker epoch 2" in str(owner.failure)

    run_virtual(scenario())


def test_an_owner_that_reads_what_its_adopter_has_deleted_finds_itself_fenced_and_no_damage():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        lsns = await appended(owner, A)
        await asyncio.sleep(1)
        plan = owner.writer.read_plan(lsns[0], len(A))
        adopter = await started(store, 2)
        later = await appended(adopter, B)
        await asyncio.sleep(1)
        adopter.trim(later[0])
        await asyncio.sleep(1)
        assert bulks_in(store) == [(2, 0)]
        with pytest.raises(Fenced, match="taken over by another process at broker epoch 2"):
            await owner.device.read(plan[0].position, plan[0].length)

    run_virtual(scenario())


def test_a_bulk_of_ones_own_that_somebody_deleted_is_damage_for_its_owner():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        lsns = await appended(owner, A)
        await asyncio.sleep(1)
        plan = owner.writer.read_plan(lsns[0], len(A))
        del store.objects[wal_bulk_key(NODE, 1, 0)]
        with pytest.raises(Corrupt, match="is missing"):
            await owner.device.read(plan[0].position, plan[0].length)

    run_virtual(scenario())


@pytest.mark.parametrize("first", [2, 3])
def test_of_two_that_claim_at_a_time_the_later_epoch_wins_whoever_comes_first(first):
    async def scenario():
        store = MemoryStore()
        await started(store)
        rivals = {epoch: Process(MemoryBucket(store), epoch) for epoch in (2, 3)}
        for rival in rivals.values():
            await rival.open()
        claim = await rivals[first].claim()
        if first == 3:
            with pytest.raises(Fenced, match="taken over by another process at broker epoch 3"):
                await rivals[2].claim()
            return
        await rivals[3].claim()
        with pytest.raises(Fenced, match="taken over by another process at broker epoch 3"):
            await rivals[2].recover(claim)

    run_virtual(scenario())


def test_a_log_whose_owner_wrote_nothing_yet_is_ended_too_also_behind_an_adopter_that_died():
    """Z2 has claimed, its first bulk is under way; Z3 claims and dies; Z4 must end Z2's log, which no listing shows."""

    async def scenario():
        store, turns = MemoryStore(), Turns()
        await started(store)
        second = Process(TurnBucket("Z2", store, turns), 2)
        await second.start()
        turns.begin()
        await appended(second, A)
        for lane in [lane for lane in turns.lanes if "swaps" in lane]:
            await turns.let(lane)
            await turns.let(f"{lane}, hears of it")
        third = Process(MemoryBucket(store), 3)
        await third.open()
        await third.claim()
        fourth = await started(store, 4)
        for _ in range(10):
            for lane in turns.lanes:
                await turns.let(lane)
        assert isinstance(second.failure, Fenced)
        assert second.acked == fourth.recovered == []

    run_virtual(scenario())


def test_an_owner_that_still_trims_while_it_is_replaced_neither_stops_the_adopter_nor_loses_it_a_record():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        lsns = await appended(owner, A, B, C)
        await asyncio.sleep(1)
        adopter = Process(MemoryBucket(store), 2)
        await adopter.open()
        owner.trim(lsns[2])
        await asyncio.sleep(1)
        assert bulks_in(store) == [(1, 2)]
        await take_over(adopter)
        assert adopter.recovered == [C]
        owner.write_superblock()
        await asyncio.sleep(1)
        assert isinstance(owner.failure, Fenced)

    run_virtual(scenario())


async def race(chooser: Chooser, *, values: int, answers_wait: bool, has_heartbeat: bool) -> None:
    """Owner Z with bulks and a heartbeat under way, and an adopter, one request at a time in the order chosen."""
    store, turns = MemoryStore(), Turns()
    owner = Process(TurnBucket("Z", store, turns, answers_wait=answers_wait), 1)
    await owner.start()
    await appended(owner, b"first")
    await settled()
    adopter = Process(TurnBucket("adopter", store, turns, answers_wait=answers_wait), 2)
    await adopter.open()
    turns.begin()
    if has_heartbeat:
        owner.write_superblock()
    await appended(owner, *[b"%d" % number for number in range(values)])
    adopting = asyncio.ensure_future(take_over(adopter))
    await settled()
    while turns.lanes:
        await turns.let(chooser.choose(turns.lanes))
        if not turns.lanes:
            await asyncio.sleep(6)  # whoever backed off tries again
            await settled()
    assert adopting.done()
    adopting.result()
    assert owner.acked == adopter.recovered[: len(owner.acked)], "an acknowledged record is not in the log"
    assert adopter.recovered == [b"first", *[b"%d" % number for number in range(values)]][: len(adopter.recovered)]
    assert owner.failure is None or isinstance(owner.failure, Fenced)
    turns.is_on = False
    await appended(owner, b"late")
    await asyncio.sleep(1)
    assert isinstance(owner.failure, Fenced), "a zombie goes on"
    assert b"late" not in owner.acked


async def take_over(adopter: Process) -> None:
    await adopter.recover(await adopter.claim())


def test_whatever_the_order_of_an_owners_and_an_adopters_requests_no_acknowledged_record_is_missing():
    async def scenario():
        assert await every_order(lambda chooser: race(chooser, values=2, answers_wait=False, has_heartbeat=False)) > 100

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(150))
def test_larger_races_in_chance_orders(seed):
    class Chance(Chooser):
        def __init__(self) -> None:
            super().__init__([])
            self._random = random.Random(seed)

        def choose(self, options):
            return self._random.choice(options)

    run_virtual(race(Chance(), values=4, answers_wait=True, has_heartbeat=True))


# a store in trouble


@pytest.mark.parametrize("seed", range(20))
def test_throttling_lost_answers_and_conflicts_cost_time_and_nothing_else(seed):
    async def scenario():
        store = MemoryStore()
        owner = Process(MemoryBucket(store, seed=seed), 1)
        await owner.start()
        owner.bucket.faults = Faults(
            unavailable=0.3, timeout_applied=0.2, timeout_lost=0.2, conflict=0.2, conflict_applied=0.2, timeout_s=2.0
        )
        values = [b"%d" % number for number in range(40)]
        for value in values:
            await appended(owner, value)
            if random.Random(value).random() < 0.2 and not owner.writer._superblock_in_flight:
                owner.write_superblock()
            await asyncio.sleep(0.3)
        await asyncio.sleep(600)
        assert owner.failure is None
        assert owner.acked == values
        assert (await started(store, 2)).recovered == values

    run_virtual(scenario())


def test_an_outage_is_waited_out_and_the_very_same_bytes_are_stored():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        await appended(owner, A)
        await asyncio.sleep(1)
        owner.bucket.faults = Faults(outage=True)
        await appended(owner, B)
        owner.write_superblock()
        await asyncio.sleep(900)
        assert owner.acked == [A]
        assert owner.failure is None
        owner.bucket.faults = Faults()
        await asyncio.sleep(6)
        assert owner.acked == [A, B]

    run_virtual(scenario())


def test_an_access_that_is_denied_is_waited_out_too():
    async def scenario():
        owner = await started(MemoryStore())
        owner.bucket.faults = Faults(denied=True)
        await appended(owner, A)
        await asyncio.sleep(60)
        owner.bucket.faults = Faults()
        await asyncio.sleep(6)
        assert owner.acked == [A]

    run_virtual(scenario())


# trim


def test_bulks_go_only_when_a_superblock_that_lets_them_go_is_durable():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        lsns = await appended(owner, A, B, C)
        await asyncio.sleep(1)
        owner.bucket.faults = Faults(outage=True)
        owner.trim(lsns[2])
        await asyncio.sleep(60)
        assert bulks_in(store) == [(1, 0), (1, 1), (1, 2)]
        owner.bucket.faults = Faults()
        await asyncio.sleep(10)
        assert bulks_in(store) == [(1, 2)]
        assert (await started(store, 2)).recovered == [C]

    run_virtual(scenario())


def test_a_log_that_is_trimmed_away_is_named_no_more_and_its_seal_stays():
    async def scenario():
        store = MemoryStore()
        await appended(await started(store), A)
        await asyncio.sleep(1)
        second = await started(store, 2)
        lsns = await appended(second, B)
        await asyncio.sleep(1)
        second.trim(lsns[0])
        await asyncio.sleep(1)
        assert bulks_in(store) == [(2, 0)]
        seal = wal_bulk_key(NODE, 1, 1)
        assert decode_header(store.data(seal), seal).is_seal
        third = Process(MemoryBucket(store), 3)
        await third.open()
        assert [log.epoch for log in third.device._unended] == [2]

    run_virtual(scenario())


def test_what_a_crash_left_behind_a_trim_or_a_seal_is_swept_at_the_next_start_and_seals_stay():
    async def scenario():
        store = MemoryStore()
        await appended(await started(store), A)
        await asyncio.sleep(1)
        orphans = [wal_bulk_key(NODE, 1, 5), wal_bulk_key(NODE, 1, 40)]
        stored = store.data(wal_bulk_key(NODE, 1, 0))
        for key in orphans:  # put by an owner that died while those before were still under way
            bulk = replace(decode_header(stored, key), number=int(key[-20:]))
            store.plant(key, encode_header(bulk) + stored[HEADER_BYTES:])
        second = await started(store, 2)
        await asyncio.sleep(1)
        assert second.recovered == [A]
        assert bulks_in(store) == [(1, 0)]
        assert wal_bulk_key(NODE, 1, 1) in store.objects

    run_virtual(scenario())


def test_starts_that_die_one_after_the_other_leave_no_growing_claim():
    async def scenario():
        store = MemoryStore()
        await appended(await started(store), A)
        await asyncio.sleep(1)
        for epoch in range(2, 40):
            assert (await started(store, epoch)).recovered == [A]
        assert len(store.data(wal_claim_key(NODE))) < 4096 + HEADER_BYTES + 100

    run_virtual(scenario())


# damage


def test_a_bulk_that_was_acknowledged_and_is_missing_is_damage_and_no_end():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        for value in (A, B, C):
            await appended(owner, value)
            await asyncio.sleep(1)
        del store.objects[wal_bulk_key(NODE, 1, 1)]
        with pytest.raises(Corrupt, match=r"wal/0000000007/0{19}1/0{19}1 is missing, and .*2 says that it was stored"):
            await started(store, 2)
        assert wal_bulk_key(NODE, 1, 1) not in store.objects, "no seal hides it"

    run_virtual(scenario())


def test_a_claim_that_was_deleted_stops_its_owner():
    async def scenario():
        store = MemoryStore()
        owner = await started(store)
        del store.objects[wal_claim_key(NODE)]
        owner.write_superblock()
        await asyncio.sleep(1)
        assert isinstance(owner.failure, Fenced)
        assert str(owner.failure).endswith("claim, was deleted")

    run_virtual(scenario())
