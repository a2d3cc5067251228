"""A dead broker's WAL is drained beside survivors, and its partitions are served again: whatever dies on the way."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from automq_broker.contract.adopt import AdoptOutcome, AdoptReport
from automq_broker.engine.adopt import NotAdoptable
from automq_broker.engine.recover import read_superblock
from automq_broker.kernel.errors import Fenced
from automq_broker.meta.commands import DeleteTopic
from automq_broker.meta.rows import NodeStatus
from automq_broker.wal import superblock as superblocks
from twins.engine_world import Fate, bulks_of
from twins.memory_bucket import Faults
from twins.moves_world import Cluster, Node, in_cluster, one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
PRODUCER = 7
FULL, UPLOADED, EMPTY, CLOSING = range(4)
"""Partitions of the dead broker: WAL and bucket, bucket alone, never written, and on its way to a survivor."""


@dataclass(slots=True)
class Died:
    """A broker that has died, and what it had acknowledged."""

    survivor: Node
    streams: list[int]
    epochs: list[int]
    acked: dict[int, list[bytes]] = field(default_factory=dict)


async def produce(node: Node, index: int, acked: list[bytes], count: int = 1) -> None:
    partition = node.running.engine.partition(TOPIC, index)
    for _ in range(count):
        sequence = len(acked)
        value = b"%d-%d" % (index, sequence) * 30
        appended = await partition.append(one_batch(value, sequence=sequence, producer=PRODUCER))
        assert appended.base_offset == sequence
        acked.append(value)


async def a_broker_dies(cluster: Cluster) -> Died:
    """Node 1 dies with acknowledged records in its WAL, one partition about to be closed; node 2 is there."""
    first, survivor = await cluster.start(1), await cluster.start(2)
    streams = await cluster.make_topic(TOPIC, 4, owner=1)
    await first.serves(streams)
    acked: dict[int, list[bytes]] = {index: [] for index in range(4)}
    await produce(first, FULL, acked[FULL], 4)
    await produce(first, UPLOADED, acked[UPLOADED], 4)
    await produce(first, CLOSING, acked[CLOSING], 2)
    await first.running.engine.uploader.upload_round()
    await asyncio.sleep(2)
    await produce(first, FULL, acked[FULL], 4)
    await produce(first, CLOSING, acked[CLOSING], 2)
    await cluster.assign([streams[CLOSING]], 2)
    await first.die()
    epochs = [cluster.control.state.stream_head(stream).epoch for stream in streams]
    assert cluster.owners(streams) == {1}
    return Died(survivor, streams, epochs, acked)


async def check_served(cluster: Cluster, died: Died, node: Node) -> None:
    """Every acknowledged record is there once, at its offset; producers go on; epochs grew."""
    await node.serves(died.streams)
    for index, stream in enumerate(died.streams):
        assert await node.read_back(TOPIC, index) == died.acked[index]
        if died.acked[index]:
            again = one_batch(died.acked[index][-1], sequence=len(died.acked[index]) - 1, producer=PRODUCER)
            assert (await node.running.engine.partition(TOPIC, index).append(again)).is_duplicate
        await produce(node, index, died.acked[index])
        assert await node.read_back(TOPIC, index) == died.acked[index]
        assert cluster.control.state.stream_head(stream).epoch > died.epochs[index]


async def check_replacement(cluster: Cluster) -> Node:
    """The broker starts again on the drained disk, with nothing to recover and nothing to serve."""
    assert cluster.control.state.nodes[1].is_clean
    page = await superblock_of(cluster)
    assert page is not None
    assert page.is_clean
    assert page.trim_lsn == page.durable_lsn
    replacement = await cluster.start(1)
    assert replacement.running.recovered_batches == 0
    assert replacement.running.torn is None
    assert cluster.control.state.nodes[1].status is NodeStatus.ACTIVE
    return replacement


async def superblock_of(cluster: Cluster) -> superblocks.Superblock | None:
    if cluster.has_disks:
        return superblocks.newest_superblock(*pages(cluster.disks[1]))
    return await read_superblock(await bulks_of(1, cluster.bucket, 0))


async def adopted(cluster: Cluster, epoch: int, fate: Fate | None = None) -> AdoptReport | None:
    """The report of an adopter that ends, None for one that dies; either way its process is gone then."""
    adopter = cluster.node(1, fate)
    work = adopter.run(adopter.adopt(epoch))
    if not await adopter.lives_or_dies(work):
        return None
    await adopter.die()
    return work.result()


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
def test_everything_acknowledged_is_served_by_a_survivor_and_the_replacement_starts_clean(has_disks: bool) -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        epoch = await cluster.rescue(1)
        report = await adopted(cluster, epoch)
        assert report is not None
        assert report.outcome is AdoptOutcome.DRAINED
        assert report.streams_closed == 4
        assert [(row.start_offset, row.end_offset) for row in report.streams] == [(4, 8), (4, 4), (0, 0), (2, 4)]
        assert report.batches == 6
        assert list(report.seconds) == ["claim", "scan", "drain", "close"]
        await check_served(cluster, died, died.survivor)
        replacement = await check_replacement(cluster)
        assert not replacement.running.engine.open_partitions.by_stream

    run_virtual(in_cluster(scenario, has_disks=has_disks))


def effects_of_an_adoption(*, has_disks: bool) -> int:
    async def scenario(cluster: Cluster) -> int:
        await a_broker_dies(cluster)
        fate = Fate()
        assert await adopted(cluster, await cluster.rescue(1), fate)
        return fate.count

    return run_virtual(in_cluster(scenario, has_disks=has_disks))


EFFECTS = 14
"""More than an adoption has; `test_the_list_is_whole` holds it to that."""


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
def test_the_list_is_whole(has_disks: bool) -> None:
    assert 9 < effects_of_an_adoption(has_disks=has_disks) <= EFFECTS


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
@pytest.mark.parametrize("then", ["the same adopter", "a later adopter", "the broker itself"])
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, EFFECTS + 1))
def test_an_adopter_that_dies_anywhere_is_continued(dies_at: int, applied: bool, then: str, has_disks: bool) -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        epoch = await cluster.rescue(1)
        first = await adopted(cluster, epoch, Fate(dies_at=dies_at, applied=applied))
        is_over = cluster.control.state.nodes[1].status is NodeStatus.STOPPED
        assert is_over or first is None
        if then == "the broker itself" and not is_over:
            broker = await cluster.start(1)
            await cluster.assign(died.streams, 1)
            await check_served(cluster, died, broker)
            return
        if then == "a later adopter" and not is_over:
            epoch = await cluster.rescue(1, key=2)
        second = await adopted(cluster, epoch)
        assert second is not None
        assert second.outcome is AdoptOutcome.DRAINED
        await check_served(cluster, died, died.survivor)
        await check_replacement(cluster)

    run_virtual(in_cluster(scenario, has_disks=has_disks))


def test_two_adopters_die_one_after_the_other_and_the_third_ends_it() -> None:
    async def scenario(dies_first: int, dies_second: int) -> None:
        async def run(cluster: Cluster) -> None:
            died = await a_broker_dies(cluster)
            await adopted(cluster, await cluster.rescue(1), Fate(dies_at=dies_first, applied=True))
            await adopted(cluster, await cluster.rescue(1, key=2), Fate(dies_at=dies_second))
            assert await adopted(cluster, await cluster.rescue(1, key=3))
            await check_served(cluster, died, died.survivor)

        await in_cluster(run)

    for dies_first in (1, 3, 5):
        for dies_second in (1, 2, 4, 6):
            run_virtual(scenario(dies_first, dies_second))


def test_a_broker_that_came_back_first_supersedes_the_adopter() -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        epoch = await cluster.rescue(1)
        broker = await cluster.start(1)
        platter = bytes(broker.device.platter)
        adopter = cluster.node(1)
        with pytest.raises(NotAdoptable, match="superseded: node 1 is ACTIVE") as refused:
            await adopter.run(adopter.adopt(epoch))
        assert refused.value.outcome is AdoptOutcome.SUPERSEDED
        assert bytes(broker.device.platter) == platter
        await cluster.assign(died.streams, 1)
        await check_served(cluster, died, broker)

    run_virtual(in_cluster(scenario))


def test_an_adopter_that_slept_while_another_took_over_ends_at_its_next_word() -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        old_epoch = await cluster.rescue(1)
        sleeper = cluster.node(1)
        sleeper.bucket.faults = Faults(outage=True)
        sleeping = sleeper.run(sleeper.adopt(old_epoch))
        await asyncio.sleep(5)
        cluster.disks[1] = bytearray(sleeper.device.platter)  # the volume is elsewhere now
        assert await adopted(cluster, await cluster.rescue(1, key=2))
        sleeper.bucket.faults = Faults()
        with pytest.raises(Fenced, match=r"EPOCH_GONE|another process"):
            await sleeping
        await check_served(cluster, died, died.survivor)

    run_virtual(in_cluster(scenario))


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
def test_a_throttling_bucket_only_slows_the_adopter(has_disks: bool) -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        epoch = await cluster.rescue(1)
        adopter = cluster.node(1)
        adopter.bucket.faults = Faults(outage=True)
        work = adopter.run(adopter.adopt(epoch))
        await asyncio.sleep(600)
        assert not work.done()
        assert cluster.control.state.nodes[1].status is NodeStatus.RESCUING
        adopter.bucket.faults = Faults(unavailable=0.5)
        assert (await work).outcome is AdoptOutcome.DRAINED
        await check_served(cluster, died, died.survivor)

    run_virtual(in_cluster(scenario, has_disks=has_disks))


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
def test_a_topic_that_is_deleted_meanwhile_does_not_hold_the_adopter_up(has_disks: bool) -> None:
    async def scenario(cluster: Cluster) -> None:
        await a_broker_dies(cluster)
        epoch = await cluster.rescue(1)
        adopter = cluster.node(1)
        adopter.bucket.faults = Faults(outage=True)
        work = adopter.run(adopter.adopt(epoch))
        await asyncio.sleep(5)
        topic = cluster.control.state.topic(TOPIC)
        assert topic is not None
        await cluster.control.submit(DeleteTopic(topic_id=topic.topic_id, now_ms=0))
        adopter.bucket.faults = Faults()
        assert (await work).outcome is AdoptOutcome.DRAINED
        await adopter.die()
        await check_replacement(cluster)

    run_virtual(in_cluster(scenario, has_disks=has_disks))


@pytest.mark.parametrize("has_disks", [True, False], ids=["disks", "bulks"])
def test_an_heir_that_is_away_opens_its_inheritance_when_it_is_back(has_disks: bool) -> None:
    async def scenario(cluster: Cluster) -> None:
        died = await a_broker_dies(cluster)
        await died.survivor.die()
        await adopted(cluster, await cluster.rescue(1))
        assert cluster.owners(died.streams) == {-1}
        await check_served(cluster, died, await cluster.start(2))

    run_virtual(in_cluster(scenario, has_disks=has_disks))


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        ("no rescue", AdoptOutcome.NOT_PROVEN_DEAD),
        ("an epoch that nobody granted", AdoptOutcome.NOT_PROVEN_DEAD),
        ("an unknown node", AdoptOutcome.NOT_PROVEN_DEAD),
        ("an older rescue", AdoptOutcome.SUPERSEDED),
        ("another node's disk", AdoptOutcome.FOREIGN),
        ("another cluster's disk", AdoptOutcome.FOREIGN),
        ("a copy of the disk", AdoptOutcome.FOREIGN),
        ("an empty disk", AdoptOutcome.FOREIGN),
        ("an old snapshot of the disk", AdoptOutcome.ROLLED_BACK),
        ("a disk that somebody wrote to", AdoptOutcome.SUPERSEDED),
    ],
)
def test_what_must_not_be_adopted_is_refused_by_name_and_left_as_it_is(wrong: str, outcome: AdoptOutcome) -> None:
    async def scenario(cluster: Cluster) -> None:
        early = await cluster.start(1)
        await early.die()
        snapshot = bytearray(cluster.disks[1])
        died = await a_broker_dies(cluster)
        state = cluster.control.state
        epoch = state.nodes[1].broker_epoch if wrong == "no rescue" else await cluster.rescue(1)
        adopter = cluster.node(1)
        match wrong:
            case "an epoch that nobody granted":
                epoch += 1
            case "an unknown node":
                adopter.node_id = 9
            case "an older rescue":
                await cluster.rescue(1, key=2)
            case "another node's disk":
                adopter.device.platter = died.survivor.device.platter
            case "another cluster's disk" | "a disk that somebody wrote to":
                page = superblocks.newest_superblock(*pages(cluster.disks[1]))
                change = {"cluster_id": "other"} if "cluster" in wrong else {"wal_epoch": epoch + 1}
                rewrite(cluster.disks[1], replace(page, counter=page.counter + 1, **change))
            case "a copy of the disk":
                adopter.device.handle = "memory:other"
            case "an empty disk":
                adopter.device.platter = bytearray(len(snapshot))
            case "an old snapshot of the disk":
                adopter.device.platter = snapshot
        before = bytes(adopter.device.platter)
        with pytest.raises(NotAdoptable) as refused:
            await adopter.run(adopter.adopt(epoch))
        assert refused.value.outcome is outcome
        assert bytes(adopter.device.platter) == before
        assert adopter.link.sent == []
        assert cluster.owners(died.streams) == {1}

    run_virtual(in_cluster(scenario))


def pages(disk: bytearray) -> list[memoryview]:
    return [memoryview(disk)[at : at + superblocks.SUPERBLOCK_BYTES] for at in superblocks.SUPERBLOCK_POSITIONS]


def rewrite(disk: bytearray, superblock: superblocks.Superblock) -> None:
    page = superblocks.encode_superblock(superblock)
    disk[superblock.position : superblock.position + len(page)] = page


def test_a_short_report_names_as_many_partitions_as_fit() -> None:
    async def scenario(cluster: Cluster) -> AdoptReport:
        await a_broker_dies(cluster)
        report = await adopted(cluster, await cluster.rescue(1))
        assert report is not None
        return report

    report = run_virtual(in_cluster(scenario))
    many = report.model_copy(update={"streams": report.streams * 1000})
    text = many.within(4096)
    assert 3000 < len(text.encode()) <= 4096
    short = AdoptReport.model_validate_json(text)
    assert short.streams[0] == report.streams[0]
    assert len(short.streams) + short.streams_unnamed == 4000
    assert AdoptReport.model_validate_json(report.within(4096)) == report
