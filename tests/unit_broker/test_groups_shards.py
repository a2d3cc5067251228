"""Coordinators over partitions: loading, batches, refusals, moving, snapshots, and the real engine below."""

import asyncio
import random
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from automq_broker.engine.groups import GroupCoordinatorKnobs, GroupCoordinators
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.values import (
    CommitRequest,
    FetchRequest,
    HeartbeatRequest,
    OffsetDeleteRequest,
    OffsetToCommit,
    SyncRequest,
)
from automq_broker.kernel.errors import ClientFault, Corrupt
from automq_broker.meta.commands import CreateTopic
from automq_broker.ports import BucketUnavailable
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode as E
from twins.engine_world import World
from twins.group_log import durable_view, join_request
from twins.group_partition import GroupPartition, GroupStream, Tasks, counting_ids
from twins.virtual_time import LoopClock, run_virtual

GROUPS = GroupKnobs(initial_rebalance_delay_ms=0)


class Broker:
    """Coordinators with one partition, as one process has them."""

    def __init__(self, stream: GroupStream, *, delay_s: float = 0.001, **knobs: Any) -> None:
        self.tasks = Tasks()
        fields = {"groups": GROUPS, "partitions": 1, **knobs}
        self.deleted: set[str] = set()
        """Topics that do not exist; all others do."""
        self.groups = GroupCoordinators(
            LoopClock(),
            GroupCoordinatorKnobs(**fields),
            counting_ids(),
            start_task=self.tasks.start,
            is_topic=lambda name: name not in self.deleted,
        )
        self.handle = GroupPartition(stream, delay_s=delay_s)

    async def open(self) -> "Broker":
        self.groups.opened(self.handle)
        while self.statistics.get("shards_loading"):
            await asyncio.sleep(0.001)
        return self

    def delete(self, *topics: str) -> None:
        """Topics are deleted, and one commit of the metadata says so."""
        self.deleted.update(topics)
        self.groups.topics_changed(frozenset(), is_any_gone=True)

    def close(self) -> None:
        self.handle.is_open = False
        self.groups.closed(self.handle)
        self.tasks.stop()

    @property
    def statistics(self) -> dict[str, int]:
        return self.groups.statistics()

    @property
    def coordinator(self) -> Any:
        return self.groups._shards[0].coordinator

    def commit(self, group_id: str, offset: int, *, topic: str = "t", partition: int = 0) -> Any:
        asked = OffsetToCommit(topic, partition, offset)
        return self.groups.commit(CommitRequest(group_id=group_id, offsets=(asked,)), lambda answer: answer.error)

    async def committed(self, group_id: str) -> dict[tuple[str, int], int]:
        answer = await waited(self.groups.fetch(FetchRequest(group_id), lambda answer: answer))
        return {(t.name, p): value.offset for t in answer.topics for p, value in t.partitions if value is not None}

    async def stable(self, group_id: str = "g") -> str:
        first = await waited(self.groups.join(join_request(group_id=group_id, fresh_id="m"), lambda a: a))
        joined = await waited(self.groups.join(join_request(first.member_id, group_id), lambda a: a))
        sync = SyncRequest(group_id=group_id, member_id=joined.member_id, generation=joined.generation)
        assert (await waited(self.groups.sync(sync, lambda a: a))).error is E.NONE
        member_id: str = joined.member_id
        return member_id

    def heartbeat(self, member_id: str, generation: int = 1, group_id: str = "g") -> Any:
        asked = HeartbeatRequest(group_id=group_id, member_id=member_id, generation=generation)
        return self.groups.heartbeat(asked, lambda answer: answer.error)


async def waited(answer: Any) -> Any:
    return await answer if isinstance(answer, asyncio.Future) else answer


def told(call: Callable[[], Any]) -> int:
    with pytest.raises(ClientFault) as fault:
        call()
    return fault.value.code


def story(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_virtual(work())

    run.__doc__ = work.__doc__
    return run


@story
async def test_a_group_lives_on_in_the_next_owner_of_its_partition() -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    member_id = await first.stable()
    assert await waited(first.commit("simple", 5)) is E.NONE
    view = durable_view(first.coordinator)
    first.close()
    assert told(lambda: first.heartbeat(member_id)) == E.NOT_COORDINATOR
    second = await Broker(stream).open()
    assert durable_view(second.coordinator) == view
    assert second.heartbeat(member_id) is E.NONE
    assert await second.committed("simple") == {("t", 0): 5}
    second.close()


@story
async def test_groups_of_partitions_that_are_elsewhere_or_loading_are_refused_with_the_right_words() -> None:
    broker = Broker(GroupStream())
    assert told(lambda: broker.commit("g", 1)) == E.NOT_COORDINATOR
    assert broker.groups.listed() == []
    broker.groups.opened(broker.handle)
    assert told(lambda: broker.commit("g", 1)) == E.COORDINATOR_LOAD_IN_PROGRESS
    assert told(broker.groups.listed) == E.COORDINATOR_LOAD_IN_PROGRESS
    await asyncio.sleep(0.1)
    assert await waited(broker.commit("g", 1)) is E.NONE
    broker.close()


@story
async def test_partitions_of_other_topics_are_not_looked_at() -> None:
    broker = Broker(GroupStream())
    broker.handle.topic = "orders"
    broker.groups.opened(broker.handle)
    assert broker.statistics == {"shards": 0}
    broker.groups.closed(broker.handle)


@story
async def test_what_is_asked_in_one_turn_of_the_loop_leaves_as_one_batch_and_is_answered_in_order() -> None:
    broker = await Broker(GroupStream()).open()
    order: list[int] = []
    waiting = [broker.commit(f"g{n}", n) for n in range(50)]
    for number, future in enumerate(waiting):
        future.add_done_callback(lambda _, number=number: order.append(number))
    assert set(await asyncio.gather(*waiting)) == {E.NONE}
    await asyncio.sleep(0)
    assert order == list(range(50))
    assert len(broker.handle.appended) == 1
    broker.close()


@story
async def test_large_turns_are_cut_into_batches_below_the_limit() -> None:
    broker = await Broker(GroupStream()).open()
    asked = tuple(OffsetToCommit("t", p, p, metadata="m" * 4000) for p in range(50))
    requests = [CommitRequest(group_id=f"g{n}", offsets=asked) for n in range(5)]
    await asyncio.gather(*(broker.groups.commit(request, lambda a: a) for request in requests))
    assert len(broker.handle.appended) == 5
    assert all(len(batch) < 400_000 for batch in broker.handle.appended)
    broker.close()


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (E.NOT_LEADER_OR_FOLLOWER, E.NOT_COORDINATOR),
        (E.REQUEST_TIMED_OUT, E.COORDINATOR_NOT_AVAILABLE),
        (E.MESSAGE_TOO_LARGE, E.UNKNOWN_SERVER_ERROR),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_refusals_of_the_log_are_told_in_words_that_group_clients_know(refusal: E, code: E, is_late: bool) -> None:
    async def work() -> None:
        broker = await Broker(GroupStream()).open()
        await broker.commit("g", 1)
        if is_late:
            broker.handle.fails = refusal
        else:
            broker.handle.refuses = refusal
        earlier = broker.commit("g", 2)
        assert await earlier is code
        broker.handle.fails = broker.handle.refuses = None
        assert await broker.committed("g") == {("t", 0): 1}
        broker.close()

    run_virtual(work())


@story
async def test_an_append_that_is_refused_at_once_still_ends_after_those_before_it() -> None:
    broker = await Broker(GroupStream()).open()
    order: list[E] = []
    first = broker.commit("g", 1)
    first.add_done_callback(lambda f: order.append(f.result()))
    await asyncio.sleep(0)
    broker.handle.refuses = E.REQUEST_TIMED_OUT
    second = broker.commit("g", 2)
    second.add_done_callback(lambda f: order.append(f.result()))
    await asyncio.gather(first, second)
    await asyncio.sleep(0)
    assert order == [E.NONE, E.COORDINATOR_NOT_AVAILABLE]
    broker.close()


@story
async def test_when_the_partition_closes_waiters_are_sent_away_and_what_is_in_the_log_is_acknowledged() -> None:
    broker = await Broker(GroupStream()).open()
    joining = broker.groups.join(join_request(requires_known_member_id=False), lambda a: a.error)
    on_its_way = broker.commit("h", 1)
    await asyncio.sleep(0)
    queued = broker.commit("h", 2)
    broker.close()
    assert await joining is E.NOT_COORDINATOR
    assert await queued is E.NOT_COORDINATOR
    assert await on_its_way is E.NONE


@story
async def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    broker = await Broker(GroupStream()).open()
    gone, stays = broker.commit("g", 1), broker.commit("g", 2)
    gone.cancel()
    assert await stays is E.NONE
    broker.close()


@story
async def test_one_timer_drops_silent_members_at_their_time() -> None:
    broker = await Broker(GroupStream()).open()
    member_id = await broker.stable()
    await asyncio.sleep(9.9)
    assert broker.heartbeat(member_id) is E.NONE
    await asyncio.sleep(9.9)
    assert broker.statistics["members"] == 1
    await asyncio.sleep(0.2)
    assert broker.statistics["members"] == 0
    assert broker.groups.describe("g").state == "Empty"  # type: ignore[union-attr]
    broker.close()


@story
async def test_troubles_of_the_bucket_delay_loading_and_do_not_end_it() -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    await first.commit("g", 3)
    first.close()
    second = Broker(stream)
    second.handle.read_troubles = [BucketUnavailable("503"), BucketUnavailable("timeout")]
    await second.open()
    assert await second.committed("g") == {("t", 0): 3}
    second.close()


@story
async def test_a_log_that_cannot_be_read_is_said_to_be_unavailable_and_not_served_half() -> None:
    stream = GroupStream()
    stream.append(records.encode_batch([records.Record(key=b"\0\1broken", value=b"\0\3")]))
    broker = await Broker(stream).open()
    assert broker.statistics["shards_failed"] == 1
    assert told(lambda: broker.commit("g", 1)) == E.COORDINATOR_NOT_AVAILABLE
    broker.close()


@story
async def test_a_damaged_answer_of_the_bucket_is_read_again_later() -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    assert await waited(first.commit("g", 7)) is E.NONE
    first.close()
    broker = Broker(stream)
    broker.handle.read_troubles = [Corrupt("a checksum does not match")]
    await broker.open()
    assert told(lambda: broker.commit("g", 8)) == E.COORDINATOR_NOT_AVAILABLE
    await asyncio.sleep(30)
    assert await broker.committed("g") == {("t", 0): 7}
    broker.close()


@story
async def test_records_of_other_kinds_and_of_transactions_are_passed_over() -> None:
    stream = GroupStream()
    stream.append(records.encode_batch([records.Record(key=b"\0\3future", value=b"\0\0x")]))
    first = await Broker(stream).open()
    await first.commit("g", 3)
    first.close()
    transactional = records.encode_batch(
        [records.Record(key=b"\0\1junk", value=b"junk")], producer_id=1, producer_epoch=0, is_transactional=True
    )
    stream.append(transactional)
    second = await Broker(stream).open()
    assert await second.committed("g") == {("t", 0): 3}
    second.close()


@story
async def test_positions_in_deleted_topics_go_also_when_the_news_come_while_loading() -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    for topic in ("gone", "kept", "later"):
        await first.commit("g", 3, topic=topic)
    first.close()
    second = Broker(stream)
    second.groups.opened(second.handle)
    second.delete("gone")
    await asyncio.sleep(1)
    second.delete("later")
    await asyncio.sleep(1)
    assert await second.committed("g") == {("kept", 0): 3}
    assert list(second.groups.committed_offsets()) == [("g", "kept", 0, 3)]
    second.close()


@story
async def test_positions_go_although_the_topic_was_deleted_while_nobody_had_them_loaded() -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    for topic in ("gone", "kept"):
        await first.commit("g", 3, topic=topic)
    first.close()
    second = Broker(stream)
    second.delete("gone")
    await second.open()
    await asyncio.sleep(1)
    assert await second.committed("g") == {("kept", 0): 3}
    second.close()


async def name_is_taken_again(*, is_loaded: bool) -> None:
    stream = GroupStream()
    first = await Broker(stream).open()
    for topic in ("again", "kept"):
        await first.commit("g", 3, topic=topic)
    first.close()
    second = Broker(stream)
    opening = asyncio.create_task(second.open())
    await (opening if is_loaded else asyncio.sleep(0))
    assert bool(second.statistics.get("shards_loading")) is not is_loaded
    second.groups.topics_changed(frozenset({"again"}), is_any_gone=True)
    await opening
    await asyncio.sleep(1)
    assert await second.committed("g") == {("kept", 0): 3}
    await second.commit("g", 7, topic="again")
    second.groups.topics_changed(frozenset({"other"}), is_any_gone=True)
    await asyncio.sleep(1)
    assert await second.committed("g") == {("again", 0): 7, ("kept", 0): 3}
    second.close()


@story
async def test_a_topic_that_takes_a_deleted_ones_name_begins_without_positions() -> None:
    await name_is_taken_again(is_loaded=True)


@story
async def test_a_topic_that_takes_a_deleted_ones_name_begins_without_positions_also_while_they_load() -> None:
    await name_is_taken_again(is_loaded=False)


@story
async def test_a_snapshot_shortens_the_log_and_loses_nothing() -> None:
    stream = GroupStream()
    broker = await Broker(stream, snapshot_bytes=1, snapshot_interval_s=60.0).open()
    member_id = await broker.stable()
    for number in range(1200):
        await asyncio.gather(*(broker.commit(f"g{n}", number) for n in range(7)))
    before = stream.size_bytes
    assert before > 256 * 1024
    await asyncio.sleep(61)
    assert stream.trims == 1
    assert stream.size_bytes < before / 100
    view = durable_view(broker.coordinator)
    await asyncio.sleep(300)
    assert stream.trims == 1  # nothing new: nothing is rewritten
    broker.close()
    again = await Broker(stream).open()
    assert {g: rows for g, rows in durable_view(again.coordinator).items() if g != "g"} == {
        g: rows for g, rows in view.items() if g != "g"
    }
    assert told(lambda: broker.heartbeat(member_id)) == E.NOT_COORDINATOR
    again.close()


@pytest.mark.parametrize("seed", range(8))
def test_commits_during_snapshots_are_never_lost_whatever_the_timing(seed: int) -> None:
    async def work() -> None:
        rng = random.Random(seed)
        stream = GroupStream()
        broker = await Broker(stream, delay_s=0.005).open()
        acked: dict[str, int] = {}

        async def client(group_id: str) -> None:
            for offset in range(40):
                if await waited(broker.commit(group_id, offset)) is E.NONE:
                    acked[group_id] = offset
                if rng.random() < 0.1:
                    asked = OffsetDeleteRequest(group_id, (("t", 0),))
                    if await waited(broker.groups.delete_offsets(asked, lambda a: a.error)) is E.NONE:
                        acked.pop(group_id)
                await asyncio.sleep(rng.random() * 0.01)

        async def snapshots() -> None:
            shard = broker.groups._shards[0]
            for _ in range(15):
                await asyncio.sleep(rng.random() * 0.03)
                await shard.snapshot()

        await asyncio.gather(*(client(f"g{n}") for n in range(20)), snapshots())
        view = durable_view(broker.coordinator)
        broker.close()
        again = await Broker(stream).open()
        assert stream.trims > 5
        assert durable_view(again.coordinator) == view
        assert {g: offset for g, _, _, offset in again.groups.committed_offsets()} == acked
        again.close()

    run_virtual(work())


@pytest.mark.parametrize("turns", range(0, 40, 3))
def test_a_partition_that_closes_during_a_snapshot_keeps_everything(turns: int) -> None:
    async def work() -> None:
        stream = GroupStream()
        broker = await Broker(stream).open()
        await asyncio.gather(*(broker.commit(f"g{n}", n) for n in range(10)))
        asked = tuple(OffsetToCommit("t", p, p, metadata="m" * 4000) for p in range(150))
        for name in ("big1", "big2"):
            await waited(broker.groups.commit(CommitRequest(group_id=name, offsets=asked), lambda a: a))
        view = durable_view(broker.coordinator)
        taking = asyncio.get_running_loop().create_task(broker.groups._shards[0].snapshot())
        for _ in range(turns):
            await asyncio.sleep(0.0004)
        broker.close()
        await taking
        again = await Broker(stream).open()
        assert durable_view(again.coordinator) == view
        again.close()

    run_virtual(work())


def test_a_start_with_many_partitions_tells_of_their_groups_in_one_line_and_of_an_outage_in_one_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run(handles: list[GroupPartition]) -> Broker:
        broker = Broker(handles[0].stream, partitions=50)
        for handle in handles:
            broker.groups.opened(handle)
        await asyncio.sleep(60)
        assert broker.statistics["shards_active"] == 50
        return broker

    async def work() -> None:
        streams = [GroupStream() for _ in range(50)]
        first = await run([GroupPartition(stream, index) for index, stream in enumerate(streams)])
        for number in range(200):
            await waited(first.commit(f"group-{number}", 1))
        first.close()
        caplog.clear()
        again = [GroupPartition(stream, index, delay_s=0.001 * index) for index, stream in enumerate(streams)]
        for handle in again:
            handle.read_troubles = [BucketUnavailable("503")] * 3
        (await run(again)).close()

    with caplog.at_level("INFO"):
        run_virtual(work())
    assert [record.message for record in caplog.records] == ["loading groups waits", "groups loaded"]
    told = caplog.records[1]
    assert (told.partitions, told.groups) == (50, 200)  # type: ignore[attr-defined]


@story
async def test_a_snapshot_of_nothing_lets_the_whole_log_go() -> None:
    stream = GroupStream()
    broker = await Broker(stream).open()
    await broker.commit("g", 1)
    await waited(broker.groups.delete("g", lambda a: a.error))
    await broker.groups._shards[0].snapshot()
    assert stream.start_offset == stream.end_offset
    broker.close()


@story
async def test_on_the_real_engine_what_was_acknowledged_survives_a_power_cut() -> None:
    world = World()
    acked: dict[str, int] = {}

    async def coordinators(life: Any) -> GroupCoordinators:
        groups = GroupCoordinators(
            LoopClock(),
            GroupCoordinatorKnobs(groups=GROUPS),
            counting_ids(),
            start_task=life.supervisor.start,
            is_topic=lambda _: True,
        )
        engine = life.running.engine
        engine.on_partition_opened(groups.opened)
        engine.on_partition_closed(groups.closed)
        if life.control.state.topic("__consumer_offsets") is None:
            await life.control.submit(
                CreateTopic(name="__consumer_offsets", topic_id=uuid.UUID(int=9), partitions=50, is_internal=True)
            )
        for partition in list(engine.open_partitions.by_stream.values()):
            groups.opened(partition)
        while groups.statistics().get("shards_active", 0) < 50:
            await asyncio.sleep(0.01)
        return groups

    for generation in range(3):
        async with world.life() as life:
            await life.start()
            groups = await coordinators(life)
            found = {g: offset for g, _, _, offset in groups.committed_offsets()}
            assert {g: found.get(g) for g in acked} == acked
            for number in range(30):
                name = f"group-{number % 11}"
                request = CommitRequest(group_id=name, offsets=(OffsetToCommit("t", 0, generation * 100 + number),))
                assert await waited(groups.commit(request, lambda a: a.error)) is E.NONE
                acked[name] = generation * 100 + number
            groups._shards[groups.partition_of("group-0")].snapshot_s = 0
            await groups._shards[groups.partition_of("group-0")].snapshot()
