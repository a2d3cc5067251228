"""The controller's loop: batches, answers, readers, renewal, trouble with the bucket, the end."""

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
from automq_broker.engine.control import ControlKnobs, Role
from automq_broker.kernel.errors import Bug, ClientFault, Corrupt, NotMine, Refused, Retry
from automq_broker.meta.commands import AllocateObjectIds, Command, DeleteTopic
from automq_broker.meta.rows import BlockRow
from automq_broker.meta.snapshots import state_as_data
from twins.control_world import ControlWorld, register, topic
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual


def test_an_empty_prefix_becomes_a_cluster_and_a_second_life_finds_it():
    async def scenario():
        world = ControlWorld()
        first = await world.started()
        cluster_id = first.state.cluster_id
        await register(first)
        await first.submit(topic(1))
        await first.stop()
        second = await world.started(wal=cluster_id)
        assert second.state.cluster_id == cluster_id
        assert len(cluster_id) == 22
        assert state_as_data(second.state) == state_as_data(first.state)
        assert second.statistics().epoch == first.statistics().epoch + 1
        world.check_chain()

    run_virtual(scenario())


def test_commands_that_wait_together_are_one_commit():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        before = len(world.history)
        answers = await asyncio.gather(*(control.submit(topic(number)) for number in range(500)))
        assert [answer.topic.name for answer in answers] == [f"topic-{number}" for number in range(500)]
        assert len(world.history) == before + 1
        world.check_chain()

    run_virtual(scenario())


def test_commands_that_change_very_much_are_several_commits_in_their_order():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        before = len(world.history)
        answers = await asyncio.gather(*(control.submit(topic(number, partitions=50)) for number in range(500)))
        assert [answer.topic.name for answer in answers] == [f"topic-{number}" for number in range(500)]
        streams = [row.stream_id for answer in answers for row in answer.topic.partitions]
        assert streams == sorted(streams)
        assert 4 <= len(world.history) - before <= 8, "no batch changes more than some six thousand rows"
        world.check_chain()

    run_virtual(scenario())


def test_while_one_commit_is_under_way_the_next_commands_gather():
    async def scenario():
        world = ControlWorld()
        control = await world.started(faults=Faults(latency_s=(0.05, 0.05)))
        await register(control)
        before = len(world.history)
        first = asyncio.ensure_future(control.submit(topic(0)))
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(control.submit(topic(number))) for number in range(1, 50)]
        await asyncio.gather(first, *others)
        assert len(world.history) == before + 2

    run_virtual(scenario())


def test_a_command_sees_those_before_it_in_the_same_batch_and_readers_see_none_of_them():
    async def scenario():
        world = ControlWorld()
        control = await world.started(faults=Faults(latency_s=(0.05, 0.05)))
        await register(control)
        create = asyncio.ensure_future(control.submit(topic(1)))
        again = asyncio.ensure_future(
            control.submit(type(topic(1))(name="topic-1", topic_id=UUID(int=9), partitions=1))
        )
        delete = asyncio.ensure_future(control.submit(DeleteTopic(topic_id=topic(1).topic_id, now_ms=1)))
        await asyncio.sleep(0.03)
        assert control.state.topic("topic-1") is None
        assert not any(each.done() for each in (create, again, delete))
        await asyncio.wait([create, again, delete])
        assert create.result().topic.name == "topic-1"
        assert isinstance(again.exception(), ClientFault), "refused because of a command of the same batch"
        assert delete.result() is None

    run_virtual(scenario())


def test_refusals_do_not_spoil_the_batch_and_need_no_commit_alone():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        good, bad = await asyncio.gather(
            control.submit(topic(1)), control.submit(topic(2, partitions=0)), return_exceptions=True
        )
        assert good.topic.name == "topic-1"
        assert isinstance(bad, ClientFault)
        before = len(world.history)
        with pytest.raises(ClientFault):
            await control.submit(topic(3, partitions=0))
        assert (await control.submit(topic(1))).topic == good.topic
        assert len(world.history) == before

    run_virtual(scenario())


def test_subscribers_hear_of_every_commit_in_order_before_the_answer():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        heard = []
        control.subscribe(lambda records: heard.append((records, control.state.topic("topic-1") is not None)))
        await control.submit(topic(1))
        assert [type(record).__name__ for record in heard[0][0]] == ["TopicAdded"]
        assert heard[0][1], "the state has it already"

    run_virtual(scenario())


def test_a_caller_that_goes_away_does_not_take_its_command_along():
    async def scenario():
        world = ControlWorld()
        control = await world.started(faults=Faults(latency_s=(0.05, 0.05)))
        await register(control)
        waiting = asyncio.ensure_future(control.submit(topic(1)))
        other = asyncio.ensure_future(control.submit(topic(2)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await other
        assert control.state.topic("topic-1") is not None

    run_virtual(scenario())


def test_an_idle_holder_renews_and_a_busy_one_need_not():
    async def scenario():
        world = ControlWorld(ControlKnobs(renew_interval_s=3.0))
        control = await world.started()
        await asyncio.sleep(30.5)
        assert control.statistics().renewals == 10
        await register(control)
        before = control.statistics().renewals
        for number in range(20):
            await control.submit(topic(number))
            await asyncio.sleep(2.0)
        assert control.statistics().renewals == before
        world.check_chain()

    run_virtual(scenario())


def test_a_long_renewal_interval_is_cheap():
    async def scenario():
        world = ControlWorld(ControlKnobs(renew_interval_s=60.0))
        control = await world.started()
        puts = world.bucket_of(control).puts
        await asyncio.sleep(3601)
        assert world.bucket_of(control).puts - puts == 60

    run_virtual(scenario())


def test_too_many_waiting_commands_are_told_to_retry():
    async def scenario():
        world = ControlWorld(ControlKnobs(queue_max=10, backoff_max_s=0.1))
        control = await world.started()
        await register(control)
        faults = world.bucket_of(control).faults
        faults.outage = True
        waiting = [asyncio.ensure_future(control.submit(topic(number))) for number in range(1)]
        await asyncio.sleep(0.5)
        waiting += [asyncio.ensure_future(control.submit(topic(number))) for number in range(1, 11)]
        await asyncio.sleep(0)
        with pytest.raises(Retry):
            await control.submit(topic(99))
        assert control.statistics().waiting == 11, "the one of the commit under way waits too"
        faults.outage = False
        await asyncio.gather(*waiting)
        assert control.statistics().waiting == 0

    run_virtual(scenario())


@pytest.mark.parametrize("kind", ["outage", "denied"])
def test_half_an_hour_without_a_bucket_only_delays(kind):
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        faults = world.bucket_of(control).faults
        setattr(faults, kind, True)
        waiting = asyncio.ensure_future(control.submit(topic(1)))
        await asyncio.sleep(1800)
        assert not waiting.done()
        assert control.trouble is not None
        assert control.role is Role.HOLDER
        setattr(faults, kind, False)
        assert (await asyncio.wait_for(waiting, 10)).topic.name == "topic-1"
        assert control.trouble is None
        world.check_chain()

    run_virtual(scenario())


def test_a_bucket_that_is_away_at_the_start_is_waited_for():
    async def scenario():
        world = ControlWorld()
        control = world.process(faults=Faults(outage=True))
        starting = asyncio.ensure_future(control.start())
        await asyncio.sleep(600)
        assert not starting.done()
        world.bucket_of(control).faults.outage = False
        await asyncio.wait_for(starting, 10)

    run_virtual(scenario())


def test_a_bucket_that_denies_at_the_start_is_a_refusal_with_the_reason():
    async def scenario():
        with pytest.raises(Refused, match="403 AccessDenied"):
            await ControlWorld().process(faults=Faults(denied=True)).start()

    run_virtual(scenario())


def test_a_stop_commits_what_waits_and_lets_the_next_one_in_at_once():
    async def scenario():
        world = ControlWorld()
        first = await world.started(0)
        await register(first)
        waiting = [asyncio.ensure_future(first.submit(topic(number))) for number in range(5)]
        await asyncio.sleep(0)
        await first.stop()
        assert all(each.result() for each in waiting)
        assert first.role is Role.ENDED
        assert await first.wait_ended() is None
        with pytest.raises(NotMine):
            await first.submit(topic(9))
        begun = world.clock.monotonic()
        second = await world.started(1)
        assert world.clock.monotonic() == begun
        assert second.state.topic("topic-4") is not None

    run_virtual(scenario())


def test_a_stop_without_a_bucket_ends_after_its_grace():
    async def scenario():
        world = ControlWorld(ControlKnobs(stop_grace_s=2.0))
        control = await world.started()
        await register(control)
        world.bucket_of(control).faults.outage = True
        waiting = asyncio.ensure_future(control.submit(topic(1)))
        await asyncio.sleep(0.1)
        begun = world.clock.monotonic()
        await control.stop()
        assert world.clock.monotonic() - begun == pytest.approx(2.0, abs=0.1)
        with pytest.raises(NotMine, match="unknown"):
            await waiting

    run_virtual(scenario())


def test_a_head_that_was_deleted_ends_the_loop_with_the_reason():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        world.store.objects.pop("meta/head")
        with pytest.raises(NotMine, match="unknown"):
            await control.submit(topic(1))
        assert isinstance(await control.wait_ended(), Corrupt)
        assert control.role is Role.ENDED
        with pytest.raises(Bug, match="deleted by someone else"):
            await control.submit(topic(2))

    run_virtual(scenario())


def test_a_batch_that_breaks_an_invariant_is_never_stored():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        epoch = await register(control)
        control.state.blocks[99] = BlockRow(first=1, end=50, node_id=0, broker_epoch=epoch, issued_ms=0)
        before = len(world.history)
        with pytest.raises(Bug, match="id blocks are disjoint"):
            await control.submit(AllocateObjectIds(node_id=0, broker_epoch=epoch, count=10, now_ms=0))
        assert isinstance(await control.wait_ended(), Bug)
        assert len(world.history) == before

    run_virtual(scenario())


@dataclass(frozen=True, slots=True, kw_only=True)
class NobodysCommand(Command[None]):
    """A command without a rule."""


def test_an_error_that_is_no_refusal_ends_the_loop_and_answers_everybody():
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        with pytest.raises(NotMine, match="unknown"):
            await control._term.enqueue(NobodysCommand())
        assert isinstance(await control.wait_ended(), KeyError)

    run_virtual(scenario())


@pytest.mark.parametrize(
    "wrong",
    [
        NobodysCommand(),
        replace(topic(1), partitions="3"),
        replace(topic(1), name=b"bytes"),
        replace(topic(1), topic_id="5"),
        replace(topic(1), created_ms=1 << 63),
        replace(topic(1), owners=(None,)),
        replace(topic(1), configs={"retention.ms": 1}),
    ],
)
def test_a_command_with_a_field_of_a_wrong_type_is_refused_and_nobody_else_notices(wrong):
    async def scenario():
        control = await ControlWorld().started()
        await register(control)
        with pytest.raises(Refused):
            await control.submit(wrong)
        assert (await control.submit(topic(1))).topic.name == "topic-1"

    run_virtual(scenario())


def test_nothing_is_accepted_before_the_start():
    async def scenario():
        with pytest.raises(NotMine, match="not known yet"):
            await ControlWorld().process().submit(topic(1))

    run_virtual(scenario())
