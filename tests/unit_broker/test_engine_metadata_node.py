"""Many brokers, one metadata: following, submitting from anywhere, elections, fences, faults of the network."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from automq_broker.engine.control import ControlKnobs, Role
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.kernel.errors import ClientFault, Fenced, Refused, Retry
from automq_broker.meta.commands import (
    AllocateObjectIds,
    ConfirmWal,
    CreatePartitions,
    DeleteTopic,
    ForgetNode,
    NodeStopped,
    RegisterNode,
    RescueNode,
)
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.snapshots import state_as_data
from automq_broker.meta.state import State
from twins.cluster_world import ClusterWorld, outcome, register
from twins.control_world import topic
from twins.network import NetworkFaults
from twins.virtual_time import run_virtual


def test_the_first_process_creates_the_cluster_and_holds_it_and_the_others_follow():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        assert [member.node.role for member in (first, second, third)] == [Role.HOLDER, Role.FOLLOWER, Role.FOLLOWER]
        truth = await world.settle()
        assert {node.status for node in truth.nodes.values()} == {NodeStatus.ACTIVE}

    run_virtual(scenario())


def test_a_command_from_any_broker_is_there_when_it_returns_and_soon_everywhere():
    async def scenario():
        world = ClusterWorld()
        members = await world.cluster(3)
        for number, member in enumerate(members):
            created = await member.node.submit(topic(number, partitions=3))
            assert member.node.state.topic(f"topic-{number}") == created.topic
        truth = await world.settle()
        assert [row.name for row in truth.topics()] == ["topic-0", "topic-1", "topic-2"]

    run_virtual(scenario())


def test_a_refusal_comes_back_as_itself_whoever_asked():
    async def scenario():
        world = ClusterWorld()
        members = await world.cluster(2)
        await members[0].node.submit(topic(1))
        for member in members:
            with pytest.raises(ClientFault, match="already exists") as refusal:
                await member.node.submit(replace(topic(1), topic_id=UUID(int=9)))
            assert refusal.value.code == 36

    run_virtual(scenario())


def test_a_command_with_a_field_of_a_wrong_type_is_refused_wherever_it_enters():
    async def scenario():
        world = ClusterWorld()
        members = await world.cluster(2)
        for member in members:
            with pytest.raises(Refused, match="wrong type"):
                await member.node.submit(replace(topic(1), partitions="3"))
        await members[1].node.submit(topic(2))
        assert world.holders() == members[:1]

    run_virtual(scenario())


def test_partitions_that_a_stopped_broker_kept_are_inherited_when_it_does_not_come_back():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        created = await first.node.submit(topic(1, partitions=6))
        kept = [row.stream_id for row in created.topic.partitions if row.owner == 2]
        assert kept
        stop = NodeStopped(node_id=2, broker_epoch=third.broker_epoch, clean=True, keeps_partitions=True)
        await third.node.submit(stop)
        world.kill(third)
        await asyncio.sleep(50)
        assert {second.node.state.streams[stream].assigned for stream in kept} == {2}
        await asyncio.sleep(20)
        truth = await world.settle()
        assert {truth.streams[stream].assigned for stream in kept} <= {0, 1}
        assert truth.nodes[2].is_clean

    run_virtual(scenario())


def test_a_broker_that_was_forgotten_and_wakes_is_told_that_its_epoch_is_gone():
    async def scenario():
        world = ClusterWorld()
        first, _, third = await world.cluster(3)
        await first.node.submit(NodeStopped(node_id=2, broker_epoch=third.broker_epoch))
        await first.node.submit(ForgetNode(node_id=2))
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await third.beats
        assert world.holders() == [first]

    run_virtual(scenario())


def test_a_lease_lives_by_the_controllers_clock_whatever_its_holder_takes_for_the_time():
    async def scenario():
        world = ClusterWorld()
        _, follower = await world.cluster(2)
        epoch = follower.broker_epoch
        ids = await follower.node.submit(AllocateObjectIds(node_id=1, broker_epoch=epoch, count=3, now_ms=5))
        lease = follower.node.state.blocks[ids.first]
        assert lease.issued_ms == pytest.approx(world.clock.now_ms(), abs=5_000)

    run_virtual(scenario())


def test_what_is_refused_or_changes_nothing_is_answered_at_once_as_well():
    async def scenario():
        world = ClusterWorld()
        _, follower = await world.cluster(2)
        await follower.node.submit(topic(1))
        await asyncio.sleep(10.3)
        begun = world.clock.monotonic()
        await follower.node.submit(topic(1))
        with pytest.raises(ClientFault):
            await follower.node.submit(replace(topic(1), topic_id=UUID(int=9)))
        assert world.clock.monotonic() - begun < 0.1
        await world.settle()

    run_virtual(scenario())


def test_everybody_is_told_the_same_of_who_follows_whom_and_how_far():
    async def scenario():
        world = ClusterWorld()
        members = await world.cluster(3)
        await members[2].node.submit(topic(1))
        await asyncio.sleep(10)
        for member in members:
            quorum = await member.node.quorum()
            assert (quorum.leader_id, quorum.epoch) == (0, members[0].node.epoch)
            assert quorum.seq >= members[0].node.seq
            assert [each.node_id for each in quorum.followers] == [1, 2]
            assert all(each.silent_ms <= 2_000 for each in quorum.followers)
        world.network.handlers.pop(members[0].endpoint)
        with pytest.raises(Retry):
            await members[1].node.quorum()

    run_virtual(scenario())


def test_a_thousand_commands_of_one_follower_share_a_few_calls_and_commits():
    async def scenario():
        world = ClusterWorld()
        _, follower = await world.cluster(2)
        world.network.faults.delay_s = (0.01, 0.02)
        calls, commits = world.network.calls, len(world.history)
        await asyncio.gather(*(follower.node.submit(topic(number)) for number in range(1000)))
        assert world.network.calls - calls < 20
        assert len(world.history) - commits < 12
        await world.settle()

    run_virtual(scenario())


def test_when_the_holder_dies_another_takes_over_within_fifteen_seconds_and_commands_go_through():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        await asyncio.sleep(10)
        world.kill(first)
        begun = world.clock.monotonic()
        await third.node.submit(topic(1, partitions=6))
        assert world.clock.monotonic() - begun <= 15
        assert len(world.holders()) == 1
        truth = await world.settle()
        assert truth.nodes[0].status is NodeStatus.FENCED, "nothing new is given to the dead"
        assert {row.owner for row in truth.topic("topic-1").partitions} <= {1, 2}
        assert second.node.state.topic("topic-1") is not None

    run_virtual(scenario())


def test_with_proof_of_the_holders_death_its_session_is_not_waited_for():
    async def scenario():
        world = ClusterWorld()
        first, second, _ = await world.cluster(3)
        await asyncio.sleep(10)
        world.kill(first)
        begun = world.clock.monotonic()
        rescue = RescueNode(node_id=0, expected_epoch=first.broker_epoch, rescue=UUID(int=5))
        granted = await second.node.submit(rescue)
        assert world.clock.monotonic() - begun < 1
        assert world.holders() == [second]
        assert granted.broker_epoch > first.broker_epoch
        truth = await world.settle()
        assert truth.nodes[0].status is NodeStatus.RESCUING

    run_virtual(scenario())


def test_proof_of_death_is_heeded_also_where_the_dead_ones_machine_answers_nothing():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        await asyncio.sleep(10)
        world.network.isolate(first.endpoint, [second.endpoint, third.endpoint])
        world.kill(first)
        begun = world.clock.monotonic()
        await second.node.submit(RescueNode(node_id=0, expected_epoch=first.broker_epoch, rescue=UUID(int=5)))
        assert world.clock.monotonic() - begun < 1
        await world.settle()

    run_virtual(scenario())


def test_proof_of_another_brokers_death_or_of_an_earlier_life_leaves_the_seat_alone():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        earlier = first.broker_epoch
        world.kill(first)
        again = await world.joined(0, wal=first.node.state.cluster_id)
        assert world.holders() == [again]
        epoch = again.node.epoch
        world.network.isolate(again.endpoint, [second.endpoint])
        stale = RescueNode(node_id=0, expected_epoch=earlier, rescue=UUID(int=5))
        other = RescueNode(node_id=2, expected_epoch=third.broker_epoch, rescue=UUID(int=6))
        await asyncio.wait(
            [asyncio.ensure_future(outcome(second.node.submit(each))) for each in (stale, other)], timeout=5
        )
        assert world.holders() == [again]
        assert again.node.epoch == epoch
        world.network.heal()
        await world.settle()
        assert again.node.state.nodes[0].broker_epoch == again.broker_epoch

    run_virtual(scenario())


def test_a_false_proof_costs_the_seat_and_nothing_that_was_committed():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        await first.node.submit(topic(1))
        world.network.isolate(first.endpoint, [second.endpoint])
        submitted = [asyncio.ensure_future(outcome(third.node.submit(topic(number)))) for number in range(2, 40)]
        await second.node.submit(RescueNode(node_id=0, expected_epoch=first.broker_epoch, rescue=UUID(int=5)))
        answers = await asyncio.gather(*submitted)
        world.network.heal()
        with pytest.raises(Fenced):
            await first.beats
        world.kill(first)
        truth = await world.settle()
        assert {row.name for row in truth.topics()} == {f"topic-{number}" for number in range(1, 40)}, answers

    run_virtual(scenario())


def test_a_holder_that_leaves_in_good_order_is_followed_at_once():
    async def scenario():
        world = ClusterWorld()
        first, _, third = await world.cluster(3)
        world.members.remove(first)
        await first.node.stop()
        world.network.handlers.pop(first.endpoint)
        first.beats.cancel()
        begun = world.clock.monotonic()
        await third.node.submit(topic(1))
        assert world.clock.monotonic() - begun <= 3
        await world.settle()

    run_virtual(scenario())


def test_the_holders_own_restart_takes_its_seat_at_once():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        cluster_id = first.node.state.cluster_id
        world.kill(first)
        begun = world.clock.monotonic()
        again = await world.joined(0, wal=cluster_id)
        assert again.node.is_holder
        assert world.clock.monotonic() - begun < 1
        assert again.broker_epoch > first.broker_epoch
        await second.node.submit(topic(1))
        await world.settle()

    run_virtual(scenario())


def test_a_holder_that_no_other_broker_reaches_gives_way_to_those_that_reach_each_other():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        await asyncio.sleep(10)
        world.network.isolate(first.endpoint, [second.endpoint, third.endpoint])
        begun = world.clock.monotonic()
        await third.node.submit(topic(1))
        assert world.clock.monotonic() - begun <= 2 * world.knobs.session_s + 6
        assert len(world.holders()) == 1
        assert not first.node.is_holder
        await asyncio.sleep(20)
        assert world.status_of(0, second) is NodeStatus.FENCED
        assert first.node.state.topic("topic-1") is not None, "it follows by the bucket"
        world.network.heal()
        await asyncio.sleep(20)
        truth = await world.settle()
        assert truth.nodes[0].status is NodeStatus.ACTIVE
        assert world.heads()[-1].epoch == 2, "one change of the seat was enough"

    run_virtual(scenario())


def test_the_last_broker_alive_gives_way_once_and_then_keeps_the_seat():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        world.kill(second)
        world.kill(third)
        await asyncio.sleep(600)
        assert first.node.is_holder
        assert world.heads()[-1].epoch == 2
        begun = world.clock.monotonic()
        await first.node.submit(topic(1))
        assert world.clock.monotonic() - begun <= 1

    run_virtual(scenario())


def test_the_last_broker_alive_takes_the_seat_back_at_once_when_it_is_to_stop():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        world.kill(second)
        while first.node.is_holder:
            await asyncio.sleep(0.1)
        first.node.leave()
        begun = world.clock.monotonic()
        await first.node.submit(topic(1))
        assert world.clock.monotonic() - begun <= 1, "its last words waited for a controller that nobody would be"

    run_virtual(scenario())


def test_a_broker_that_is_to_stop_does_not_give_the_seat_up_that_its_last_words_need():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        world.kill(second)
        first.node.leave()
        await asyncio.sleep(600)
        assert first.node.is_holder
        assert world.heads()[-1].epoch == 1

    run_virtual(scenario())


def test_a_lone_broker_of_a_cluster_to_be_never_gives_way():
    async def scenario():
        world = ClusterWorld()
        await world.cluster(1)
        await asyncio.sleep(600)
        assert world.heads()[-1].epoch == 1

    run_virtual(scenario())


def test_an_old_holder_that_wakes_up_commits_nothing_and_follows_the_new_one():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        everybody = [member.endpoint for member in world.members]
        first.bucket.faults.outage = True  # asleep: reaches neither bucket nor brokers
        world.network.isolate(first.endpoint, everybody)
        late = asyncio.ensure_future(outcome(first.node.submit(topic(7))))
        await asyncio.sleep(20)
        assert first.node.is_holder, "it does not know yet"
        await second.node.submit(topic(1))
        first.bucket.faults.outage = False
        world.network.heal()
        await late
        await asyncio.sleep(5)
        truth = await world.settle()
        assert not first.node.is_holder
        assert truth.topic("topic-7") is not None, "its own command found its way to the new holder"
        assert truth.nodes[0].status is NodeStatus.ACTIVE
        assert third.node.state.topic("topic-1") is not None

    run_virtual(scenario())


def test_a_holder_killed_between_the_put_and_the_answer_leaves_a_command_that_is_not_done_twice():
    async def scenario():
        world = ClusterWorld()
        first, second, _ = await world.cluster(3)
        created = (await second.node.submit(topic(1, partitions=1))).topic
        await world.settle()
        first.bucket.script = ["applied!"]
        growing = asyncio.ensure_future(second.node.submit(CreatePartitions(topic_id=created.topic_id, total=4)))
        deleting = asyncio.ensure_future(second.node.submit(topic(2)))
        await asyncio.sleep(1)
        world.kill(first)
        assert len((await growing).topic.partitions) == 4
        await deleting
        first.bucket.faults.outage = False
        truth = await world.settle()
        assert len(truth.topic("topic-1").partitions) == 4

    run_virtual(scenario())


def test_a_deletion_whose_answer_was_lost_with_the_holder_is_a_success():
    async def scenario():
        world = ClusterWorld()
        first, second, _ = await world.cluster(3)
        created = (await second.node.submit(topic(1))).topic
        await world.settle()
        first.bucket.script = ["applied!"]
        deleting = asyncio.ensure_future(second.node.submit(DeleteTopic(topic_id=created.topic_id, now_ms=1)))
        await asyncio.sleep(1)
        world.kill(first)
        assert await deleting is None
        with pytest.raises(ClientFault):
            await second.node.submit(DeleteTopic(topic_id=created.topic_id, now_ms=2))

    run_virtual(scenario())


def test_a_silent_node_is_fenced_its_commands_wait_and_its_next_heartbeat_lifts_that():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        others = [first.endpoint, third.endpoint]
        world.network.isolate(second.endpoint, others)
        await asyncio.sleep(13)
        assert world.status_of(1, first) is NodeStatus.FENCED
        assert world.status_of(1, second) is NodeStatus.FENCED, "it follows by the bucket"
        lease = AllocateObjectIds(node_id=1, broker_epoch=second.broker_epoch, count=1, now_ms=1)
        waiting = asyncio.ensure_future(second.node.submit(lease))
        await asyncio.sleep(30)
        assert not waiting.done()
        world.network.heal()
        assert (await waiting).first > 0
        await world.settle()
        assert world.status_of(1, third) is NodeStatus.ACTIVE
        assert len(world.holders()) == 1
        assert first.node.is_holder, "a follower that cannot reach the holder does not stand against a head that moves"

    run_virtual(scenario())


def test_a_one_way_partition_fences_too_and_heals():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        world.network.isolate(first.endpoint, [second.endpoint], to=True, back=False)
        await asyncio.sleep(20)
        assert world.status_of(1, first) is NodeStatus.ACTIVE, "its heartbeats arrive, only the answers are lost"
        world.network.heal()
        world.network.isolate(second.endpoint, [first.endpoint], to=True, back=False)
        await asyncio.sleep(20)
        assert world.status_of(1, first) is NodeStatus.FENCED
        world.network.heal()
        await asyncio.sleep(5)
        assert world.status_of(1, first) is NodeStatus.ACTIVE
        await world.settle()

    run_virtual(scenario())


def test_a_heartbeat_at_an_older_broker_epoch_is_told_that_it_is_gone():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        await first.node.submit(RescueNode(node_id=1, expected_epoch=second.broker_epoch, rescue=UUID(int=5)))
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await second.beats
        lease = AllocateObjectIds(node_id=1, broker_epoch=second.broker_epoch, count=1, now_ms=1)
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await second.node.submit(lease)

    run_virtual(scenario())


def test_a_broker_that_never_comes_to_serve_loses_its_epoch_and_may_begin_anew():
    async def scenario():
        world = ClusterWorld()
        first = await world.joined(0)
        stuck = await world.started(1)
        registered = await stuck.node.submit(
            RegisterNode(
                node_id=1,
                incarnation=stuck.node.identity.incarnation,
                volume_uuid=stuck.node.identity.volume_uuid,
                volume_handle=f"disk-{stuck.node.identity.volume_uuid}",
                wal_epoch_found=0,
            )
        )
        await asyncio.sleep(world.knobs.recovery_s - 5)
        assert world.status_of(1, first) is NodeStatus.RECOVERING
        await asyncio.sleep(10)
        assert world.status_of(1, first) is NodeStatus.RESCUING
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await stuck.node.submit(ConfirmWal(node_id=1, broker_epoch=registered.broker_epoch))
        world.kill(stuck)
        again = await world.joined(1)
        assert again.broker_epoch > registered.broker_epoch
        assert world.status_of(1, first) is NodeStatus.ACTIVE
        await world.settle()

    run_virtual(scenario())


def test_of_two_processes_with_one_node_id_the_newer_one_goes_on():
    async def scenario():
        world = ClusterWorld()
        await world.cluster(1)
        old = await world.joined(1)
        new = await world.joined(1, volume_uuid=UUID(int=0xEE))
        assert new.broker_epoch > old.broker_epoch
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            await old.beats

    run_virtual(scenario())


def test_a_process_with_another_secret_is_refused_in_one_line():
    async def scenario():
        world = ClusterWorld()
        await world.cluster(1)
        stranger = world.member(5)
        world.network.denied.add(stranger.endpoint)
        await stranger.node.start()
        refusal = await outcome(register(world, stranger))
        assert isinstance(refusal, Refused)
        assert isinstance(await stranger.node.wait_ended(), Refused)
        assert 5 not in world.members[0].node.state.nodes

    run_virtual(scenario())


def test_a_follower_that_is_too_far_behind_loads_anew_and_its_readers_are_told():
    async def scenario():
        control = ControlKnobs(confirms_every_answer=True, recent_bytes=2000, snapshot_commits=20)
        world = ClusterWorld(knobs=ClusterKnobs(control=control))
        first, second, third = await world.cluster(3)
        reloads = []
        second.node.subscribe(lambda records: None, reloads.append)
        world.network.isolate(second.endpoint, [first.endpoint, third.endpoint])
        second.bucket.faults.outage = True
        for number in range(60):
            await first.node.submit(topic(number))
        second.bucket.faults.outage = False
        world.network.heal()
        await world.settle()
        assert reloads == [second.node.state]

    run_virtual(scenario())


def test_a_follower_that_was_away_for_a_while_goes_on_without_loading_anew():
    async def scenario():
        world = ClusterWorld()
        first, second = await world.cluster(2)
        reloads = []
        second.node.subscribe(lambda records: None, reloads.append)
        world.network.isolate(second.endpoint, [first.endpoint])
        second.bucket.faults.outage = True
        for number in range(60):
            await first.node.submit(topic(number, partitions=50))
        second.bucket.faults.outage = False
        world.network.heal()
        await world.settle()
        assert reloads == []

    run_virtual(scenario())


def test_a_holder_that_answers_but_cannot_reach_the_bucket_is_replaced():
    async def scenario():
        world = ClusterWorld()
        first, second, _ = await world.cluster(3)
        first.bucket.faults.outage = True
        begun = world.clock.monotonic()
        await second.node.submit(topic(1))
        assert world.clock.monotonic() - begun < 30
        first.bucket.faults.outage = False
        await world.settle()

    run_virtual(scenario())


def test_when_the_bucket_is_away_nobody_ends_and_work_goes_on_afterwards():
    async def scenario():
        world = ClusterWorld()
        members = await world.cluster(3)
        for member in members:
            member.bucket.faults.outage = True
        hopeless = asyncio.ensure_future(outcome(members[1].node.submit(topic(1))))
        await asyncio.sleep(120)
        assert isinstance(await hopeless, Retry)
        for member in members:
            member.bucket.faults.outage = False
        await members[2].node.submit(topic(2))
        await world.settle()

    run_virtual(scenario())


def test_a_command_that_was_sent_twice_has_one_effect():
    async def scenario():
        world = ClusterWorld(seed=3)
        _, second = await world.cluster(2)
        world.network.faults = NetworkFaults(duplicate=1.0, delay_s=(0.0, 0.05))
        blocks = []
        for _ in range(20):
            lease = AllocateObjectIds(node_id=1, broker_epoch=second.broker_epoch, count=10, now_ms=1)
            blocks.append(await second.node.submit(lease))
        await asyncio.sleep(30)
        truth = await world.settle()
        assert len(truth.blocks) == 20
        assert truth.next_object_id == 201

    run_virtual(scenario())


class EpochMonitor:
    """The direct form of DESIGN 5a.13: no record of an older broker epoch after a newer one was granted."""

    def __init__(self):
        self.granted = {}

    def check(self, records):
        for record in records:
            name = type(record).__name__
            node_id, epoch = getattr(record, "node_id", None), getattr(record, "broker_epoch", None)
            if epoch is None:
                continue
            if name in ("NodeRegistered", "NodeRescued"):
                assert epoch > self.granted.get(node_id, 0), f"{name} grants node {node_id} an old epoch"
                self.granted[node_id] = epoch
            else:
                assert epoch == self.granted[node_id], f"{name} of node {node_id} at {epoch}, granted {self.granted}"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_network_the_bucket_and_deaths_do_there_is_one_lineage_and_one_state(seed):
    async def scenario():
        control = ControlKnobs(
            confirms_every_answer=True, recent_bytes=20_000, snapshot_commits=40, inline_bytes_max=4_000
        )
        world = ClusterWorld(seed=seed, knobs=ClusterKnobs(control=control))
        rng = world.network.rng
        members = await world.cluster(3 + seed % 3)
        cluster_id = members[0].node.state.cluster_id
        acknowledged = set()
        numbers = iter(range(10_000))

        async def work():
            while True:
                await asyncio.sleep(rng.uniform(0, 2))
                number = next(numbers)
                if world.members:
                    answer = await outcome(rng.choice(world.members).node.submit(topic(number, partitions=2)))
                    if not isinstance(answer, Exception):
                        acknowledged.add(f"topic-{number}")

        async def kept_alive(member):
            """As its supervisor does: a late command of an earlier life may take its epoch away, then it starts again."""
            while isinstance(await outcome(register(world, member)), Fenced) and member in world.members:
                world.kill(member)
                member = await world.started(member.node_id, wal=cluster_id)

        workers = [asyncio.ensure_future(work()) for _ in range(4)]
        for _ in range(12):
            world.network.faults = NetworkFaults(
                delay_s=(0.0, rng.choice([0.01, 0.3, 2.0])),
                drop=rng.choice([0.0, 0.1]),
                reset=rng.choice([0.0, 0.1]),
                duplicate=rng.choice([0.0, 0.3]),
                slow=rng.choice([0.0, 0.05]),
            )
            victim = rng.choice(world.members)
            others = [member.endpoint for member in world.members if member is not victim]
            match rng.randrange(6):
                case 0:
                    world.network.isolate(victim.endpoint, others, to=rng.random() < 0.7, back=rng.random() < 0.7)
                case 1:
                    victim.bucket.faults.outage = True
                case 2:
                    victim.bucket.faults.timeout_applied = victim.bucket.faults.timeout_lost = 0.2
                    victim.bucket.faults.conflict_applied = 0.1
                case 3 | 4:
                    world.kill(victim)
                    again = await world.started(victim.node_id, wal=cluster_id)
                    workers.append(asyncio.ensure_future(kept_alive(again)))
                case _:
                    pass
            await asyncio.sleep(rng.uniform(5, 40))
            world.network.cut.clear()
            for member in world.members:
                member.bucket.faults.outage = False
        world.network.heal()
        for member in world.members:
            member.bucket.faults.timeout_applied = member.bucket.faults.timeout_lost = 0
            member.bucket.faults.conflict_applied = 0
        for worker in workers[:4]:
            worker.cancel()
        await asyncio.sleep(40)
        truth = await world.settle()
        assert {row.name for row in truth.topics()} >= acknowledged
        assert len(acknowledged) > 20
        assert {node.status for node in truth.nodes.values()} == {NodeStatus.ACTIVE}
        monitor = EpochMonitor()
        replayed = [record for batch in world.lineage() for record in batch.records()]
        monitor.check(replayed)
        assert state_as_data(truth) == state_as_data(replay(replayed, truth.cluster_id))

    run_virtual(scenario())


def replay(records, cluster_id):
    state = State(cluster_id)
    for record in records:
        state.replay(record)
    return state
