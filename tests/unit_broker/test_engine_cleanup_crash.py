"""The process dies at every single effect while old data goes: retention, deleted topics, compaction, grace, orphans.

Guards the order of the steps that give up bytes, each of which a crash may cut off behind:
- objects are stored before the commit that puts them in the place of others (else what was compacted is a hole);
- retention cuts whole ranges and leaves at least what the topic keeps, whatever was compacted meanwhile;
- what was stored for a commit that never came, and what was to be deleted when the process died, goes with the next one.
"""

import asyncio
import dataclasses
import random
import uuid
from dataclasses import dataclass, field

import pytest
from automq_broker.engine.verify import Watching, verify
from automq_broker.kernel.ids import Offset
from automq_broker.lake.compaction import CompactionKnobs
from automq_broker.lake.keys import HEAD_KEY, data_key
from automq_broker.meta.commands import CreateTopic, DeleteTopic
from automq_broker.wire import records
from twins.engine_world import KNOBS, Fate, Life, World
from twins.memory_bucket import MemoryBucket
from twins.virtual_time import LoopClock, run_virtual

SHORT_S = 5
SMALL_BYTES = 3000
TOPICS = {
    "short": {"retention.ms": str(SHORT_S * 1000)},
    "small": {"retention.bytes": str(SMALL_BYTES)},
    "kept": {"retention.ms": "-1"},
    "doomed": {},
}
RAPID = dataclasses.replace(
    KNOBS,
    upload_interval_s=1.0,
    retention_interval_s=1.0,
    compaction_interval_s=1.5,
    delete_interval_s=0.4,
    sweep_interval_s=0.8,
    delete_grace_ms=1500,
    id_block_age_ms=6000,
    compaction=CompactionKnobs(own_bytes=3000, force_age_ms=3000),
)
"""Every chore runs, in the space of seconds, beside the uploads."""
SETTLED_S = 30
"""By then every lease of a life that ended is retired, every grace is over, and every sweep came by."""
TURNS = 6
RECORD_OVERHEAD = 80
EFFECTS = 110
"""More than a life has; `test_the_list_is_whole` holds it to that."""


@dataclass(slots=True)
class Ledger:
    """What was sent of each topic, with the time at which it was made, and how much of it was acknowledged."""

    sent: dict[str, list[tuple[bytes, int]]] = field(default_factory=lambda: {name: [] for name in TOPICS})
    acked: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOPICS, 0))
    is_doomed: bool = False
    """Somebody asked for the end of that topic."""

    @property
    def topics(self) -> list[str]:
        """Those that are written to."""
        return [name for name in TOPICS if not (self.is_doomed and name == "doomed")]


async def delete_doomed(life: Life) -> None:
    if (topic := life.control.state.topic("doomed")) is not None:
        await life.control.submit(DeleteTopic(topic_id=topic.topic_id, now_ms=LoopClock().now_ms()))


async def ready(life: Life, ledger: Ledger) -> None:
    """The topics are there and open, and what somebody asked for is asked for again."""
    await life.start()
    if ledger.is_doomed:
        await delete_doomed(life)
    for number, name in enumerate(ledger.topics, 1):
        if life.control.state.topic(name) is None:
            topic_id = uuid.UUID(int=number)
            await life.control.submit(CreateTopic(name=name, topic_id=topic_id, partitions=1, configs=TOPICS[name]))
    while not {each.topic for each in life.running.engine.open_partitions.by_stream.values()} >= set(ledger.topics):
        await asyncio.sleep(0.01)


async def append(life: Life, ledger: Ledger, name: str) -> None:
    """The next record, or again the one that was not acknowledged."""
    sent, sequence = ledger.sent[name], ledger.acked[name]
    if sequence == len(sent):
        sent.append((f"{name} {sequence} ".encode() * 120, LoopClock().now_ms()))
    value, timestamp = sent[sequence]
    record = records.Record(timestamp=timestamp, value=value)
    batch = records.encode_batch([record], producer_id=7, producer_epoch=0, base_sequence=sequence)
    await life.running.engine.partition(name, 0).append(bytearray(batch))
    ledger.acked[name] += 1


async def write(life: Life, ledger: Ledger) -> None:
    """Every topic gets a record a second, beside the chores; half way, one topic is deleted with what the log has of it."""
    for turn in range(TURNS):
        for name in ledger.topics:
            await append(life, ledger, name)
        if turn == TURNS // 2:
            ledger.is_doomed = True
            await delete_doomed(life)
        await asyncio.sleep(1.1)


async def live_and_die(world: World, fate: Fate, ledger: Ledger) -> None:
    async with world.life(fate, knobs=RAPID) as life:
        life.bucket.faults.latency_s = (0.0, 0.03)

        async def work() -> None:
            await ready(life, ledger)
            await write(life, ledger)
            await asyncio.sleep(SETTLED_S)

        ends = [asyncio.create_task(work()), asyncio.create_task(fate.died.wait())]
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await done.pop()
        assert fate.is_dead or not life.running.supervisor.has_failed


async def check_bucket(world: World) -> None:
    """Everything that the metadata names is there, byte for byte."""
    watching = Watching(total=lambda _: None, advance=lambda _: None)
    bucket = MemoryBucket(world.store)
    report = await verify(bucket, random.Random(1), now_ms=LoopClock().now_ms(), is_deep=True, watching=watching)
    assert report.is_clean, report.findings


async def read_back(life: Life, name: str) -> tuple[int, list[bytes]]:
    """The first offset, and all values from there on."""
    partition = life.running.engine.partition(name, 0)
    first = offset = partition.log.start_offset
    found: list[bytes] = []
    while offset < partition.log.high_watermark:
        data = memoryview(b"".join(await partition.read(offset, 1 << 20)))
        for position, header in records.iter_headers(data):
            assert header.base_offset == offset, "offsets are contiguous"
            batch = data[position : position + header.size_bytes]
            decoded = records.decode_records(batch, limit_bytes=1 << 20, limit_ratio=100)
            found += [bytes(record.value or b"") for record in decoded]
            offset = Offset(header.last_offset + 1)
    return first, found


async def check_records(life: Life, ledger: Ledger) -> None:
    """From its start on, a topic holds what was acknowledged; and no start went further than its topic allows."""
    for name in ledger.topics:
        first, found = await read_back(life, name)
        expected = [value for value, _ in ledger.sent[name]]
        assert found == expected[first : first + len(found)], "a record is doubled or foreign"
        assert first + len(found) >= ledger.acked[name], "an acknowledged record is missing"
        if name == "small" and first:
            assert sum(map(len, found)) + RECORD_OVERHEAD * len(found) >= SMALL_BYTES
        elif name == "short" and first:
            assert ledger.sent[name][first - 1][1] < LoopClock().now_ms() - SHORT_S * 1000
        elif name != "short":
            assert first == 0 or name == "small"


def check_nothing_is_left(life: Life) -> None:
    """What nobody needs is gone, from the bucket and from the metadata."""
    state = life.control.state
    assert life.bucket.store.keys("data/") == sorted(data_key(object_id) for object_id in state.objects)
    assert not state.deleting
    assert {state.topic_by_id(stream.topic_id).name for stream in state.streams.values()} <= set(TOPICS) - {"doomed"}
    short = life.running.engine.partition("short", 0).log
    assert short.start_offset == short.high_watermark > 0


async def check_after(world: World, ledger: Ledger) -> None:
    """Look at what the dead left, go on where it stopped, and wait until all that is old has gone."""
    if HEAD_KEY in world.store.objects:  # it lived long enough for a cluster
        await check_bucket(world)
    async with world.life(knobs=RAPID) as life:
        await ready(life, ledger)
        await check_records(life, ledger)
        await write(life, ledger)
        await check_records(life, ledger)
        await asyncio.sleep(SETTLED_S)
        await check_records(life, ledger)
        check_nothing_is_left(life)
        assert not life.running.supervisor.has_failed
    await check_bucket(world)


def effects_of_a_whole_life() -> int:
    async def scenario() -> int:
        fate = Fate()
        await live_and_die(World(), fate, Ledger())
        return fate.count

    return run_virtual(scenario())


def test_the_list_is_whole() -> None:
    assert 80 < effects_of_a_whole_life() <= EFFECTS


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, EFFECTS + 1))
def test_nothing_that_is_needed_goes_and_all_else_does(dies_at: int, applied: bool) -> None:
    async def scenario() -> None:
        world, ledger = World(), Ledger()
        await live_and_die(world, Fate(dies_at=dies_at, applied=applied), ledger)
        await check_after(world, ledger)

    run_virtual(scenario())
