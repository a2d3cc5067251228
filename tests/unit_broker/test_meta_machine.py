"""Random commands against the state: invariants hold, replay is the state, snapshots are the state."""

from random import Random
from uuid import UUID

import pytest
from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.meta import commands as c
from automq_broker.meta.invariants import findings
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.snapshots import decode_snapshot, encode_snapshot, state_as_data
from automq_broker.meta.state import State
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twins.meta_world import CLUSTER_ID, MetaWorld, object_of

REFUSALS = (ClientFault, Fenced, NotMine, Refused, Retry)
NODES = st.integers(0, 2)
PICKS = st.integers(0, 1 << 16)
SMALL = st.integers(-1, 6)


class MetadataMachine(RuleBasedStateMachine):
    """Three nodes and a few names; half of the commands are wrong on purpose, so that refusals are walked too."""

    @initialize()
    def begin(self):
        self.world = MetaWorld(nodes=2)
        self.world.topic("first", 3)
        self.sent = []
        self.acknowledged = {}

    def send(self, command):
        before = state_as_data(self.world.state)
        self.sent.append(command)
        try:
            return self.world.do(command)
        except REFUSALS:
            assert state_as_data(self.world.state) == before
            return None

    def pick(self, rows, number, default=1):
        rows = list(rows)
        return rows[number % len(rows)] if rows else default

    def epoch_of(self, node_id, off):
        node = self.world.state.nodes.get(node_id)
        return (node.broker_epoch if node else 0) - (off == 0)

    @rule(node_id=NODES, pick=PICKS)
    def revive(self, node_id, pick):
        """A proper restart: same volume, the WAL epoch that was confirmed; or only what is missing to be ACTIVE."""
        node = self.world.state.nodes.get(node_id)
        is_down = node is None or node.status in (NodeStatus.STOPPED, NodeStatus.RESCUING)
        if is_down or pick % 8 == 0:
            self.world.epochs[node_id] = self.world.register(node_id)
        for kind in (c.LiftFence, c.ConfirmWal, c.NodeRecovered):
            self.send(kind(node_id=node_id, broker_epoch=self.epoch_of(node_id, 1)))

    @rule(node_id=NODES, same=st.booleans(), volume=st.integers(0, 1), loss=st.booleans(), pick=PICKS)
    def start_strangely(self, node_id, same, volume, loss, pick):
        node = self.world.state.nodes.get(node_id)
        epochs = (0, *((node.confirmed_epoch, *node.granted_epochs) if node else ()))
        registered = self.send(
            c.RegisterNode(
                node_id=node_id,
                incarnation=node.incarnation if node and same else UUID(int=self.world.unique() + 1000),
                volume_uuid=UUID(int=volume),
                volume_handle="h",
                wal_epoch_found=self.pick(epochs, pick),
                accept_wal_loss=loss,
            )
        )
        if registered:
            self.world.epochs[node_id] = registered.broker_epoch

    @rule(node_id=NODES, off=st.integers(0, 5), key=st.integers(1, 3), kind=st.sampled_from(
        [c.ConfirmWal, c.NodeStopped, c.FenceNode, c.LiftFence, c.RescueDone, c.RescueNode, c.ForgetNode, c.StopCluster]
    ))  # fmt: skip
    def node_step(self, node_id, off, key, kind):
        epoch = self.epoch_of(node_id, off)
        if kind is c.RescueNode:
            self.send(c.RescueNode(node_id=node_id, expected_epoch=epoch, rescue=UUID(int=key)))
        elif kind is c.ForgetNode:
            self.send(c.ForgetNode(node_id=node_id))
        elif kind is c.StopCluster:
            self.send(c.StopCluster(until_ms=key - 1))
        elif kind is c.NodeStopped:
            self.send(c.NodeStopped(node_id=node_id, broker_epoch=epoch, keeps_partitions=key == 1))
        else:
            self.send(kind(node_id=node_id, broker_epoch=epoch))

    @rule(node_id=NODES, off=st.integers(0, 5), pick=PICKS)
    def accept_wal_loss(self, node_id, off, pick):
        node = self.world.state.nodes.get(node_id)
        if node is not None:
            volume = self.pick((node.volume, *node.refused_volumes), pick)
            epoch = self.epoch_of(node_id, off)
            self.send(
                c.AcceptWalLoss(
                    node_id=node_id, expected_epoch=epoch, volume_uuid=volume.uuid, volume_handle=volume.handle
                )
            )

    @rule(name=st.sampled_from(["a", "a.b", "a_b", "bad name"]), partitions=SMALL)
    def create(self, name, partitions):
        topic_id = UUID(int=self.world.unique() + 5000)
        self.send(c.CreateTopic(name=name, topic_id=topic_id, partitions=partitions, configs={"retention.ms": "1"}))

    @rule(pick=PICKS, total=SMALL, node_id=NODES, kind=st.sampled_from(["grow", "delete", "assign", "assign"]))
    def change_topic(self, pick, total, node_id, kind):
        topic_id = self.pick(self.world.state.topics_by_id, pick, UUID(int=1))
        if kind == "grow":
            self.send(c.CreatePartitions(topic_id=topic_id, total=total))
        elif kind == "delete" and pick % 3 == 0:
            self.send(c.DeleteTopic(topic_id=topic_id, now_ms=self.world.unique()))
        elif kind == "assign":
            self.send(c.AssignStreams(stream_ids=(self.pick(self.world.state.streams, pick),), node_id=node_id))

    @rule(pick=PICKS, off=st.integers(0, 8), beyond=st.integers(0, 5), count=st.integers(1, 3))
    def open(self, pick, off, beyond, count):
        for each in range(count):
            self.open_one(pick + each, off, beyond)

    def open_one(self, pick, off, beyond):
        stream = self.pick(self.world.state.streams.values(), pick, None)
        if stream is None:
            return
        node_id = stream.owner if stream.is_open else stream.assigned
        self.send(
            c.OpenStream(
                stream_id=stream.stream_id,
                node_id=node_id,
                broker_epoch=self.epoch_of(node_id, off),
                stream_epoch=stream.epoch + 1,
                log_end=stream.committed_end + beyond,
            )
        )

    @rule(pick=PICKS, off=st.integers(0, 8), beyond=st.integers(0, 1))
    def close(self, pick, off, beyond):
        stream = self.pick([each for each in self.world.state.streams.values() if each.is_open], pick, None)
        if stream is not None:
            self.send(
                c.CloseStream(
                    stream_id=stream.stream_id,
                    node_id=max(stream.owner, 0),
                    broker_epoch=self.epoch_of(max(stream.owner, 0), off),
                    stream_epoch=stream.epoch,
                    final_end=stream.committed_end + beyond,
                )
            )

    @rule(node_id=NODES, count=st.integers(1, 5), shift=st.sampled_from([0, 0, 0, 0, 1, -1]), off=st.integers(0, 9))
    def commit(self, node_id, count, shift, off):
        epoch = self.epoch_of(node_id, off)
        block = self.send(c.AllocateObjectIds(node_id=node_id, broker_epoch=epoch, count=2, now_ms=1))
        mine = [each for each in self.world.state.streams.values() if each.is_open and each.owner == node_id]
        if block is None or not mine:
            return
        spans = [(each.stream_id, each.committed_end + shift, each.committed_end + shift + count) for each in mine[:3]]
        row = object_of(self.world.state, node_id, block.first, *spans)
        committed = self.send(c.CommitObject(node_id=node_id, broker_epoch=epoch, object=row))
        if committed:
            assert shift == 0
            self.acknowledged.update(committed.ends)

    @rule(pick=PICKS, node_id=NODES, length=st.integers(1, 4))
    def compact(self, pick, node_id, length):
        stream = self.pick([each for each in self.world.state.streams.values() if each.ends], pick, None)
        epoch = self.epoch_of(node_id, 1)
        block = self.send(c.AllocateObjectIds(node_id=node_id, broker_epoch=epoch, count=1, now_ms=1))
        if stream is None or not stream.ends or block is None:
            return
        ranges = stream.row().ranges[:length]
        row = object_of(self.world.state, node_id, block.first, (stream.stream_id, ranges[0].start, ranges[-1].end))
        merged = row.ranges[0].__class__(
            **{name: getattr(row.ranges[0], name) for name in row.ranges[0].__slots__ if name != "stream_epoch"},
            stream_epoch=ranges[-1].stream_epoch,
        )
        row = row.__class__(
            **{name: getattr(row, name) for name in row.__slots__ if name != "ranges"}, ranges=(merged,)
        )
        removed = tuple(dict.fromkeys(each.object_id for each in ranges))
        self.send(c.ReplaceObjects(node_id=node_id, broker_epoch=epoch, removed=removed, added=(row,), now_ms=3))

    @rule(pick=PICKS, back=st.integers(-1, 6))
    def advance(self, pick, back):
        stream = self.pick(self.world.state.streams.values(), pick, None)
        if stream is not None:
            start = stream.committed_end - back
            self.send(c.AdvanceStart(stream_id=stream.stream_id, start_offset=start, now_ms=self.world.unique()))

    @rule(pick=PICKS, is_retirement=st.booleans())
    def clean_up(self, pick, is_retirement):
        objects = [*self.world.state.deleting, *self.world.state.objects]
        if is_retirement:
            self.send(c.RetireBlock(first=self.pick(self.world.state.blocks, pick)))
        else:
            self.send(c.ForgetObjects(object_ids=(self.pick(objects, pick),)))

    @rule(pick=PICKS)
    def repeat_something_old(self, pick):
        if self.sent:
            self.send(self.pick(self.sent, pick))

    @rule()
    def restart_from_a_snapshot(self):
        data = b"".join(encode_snapshot(self.world.state))
        restored = decode_snapshot(data, CLUSTER_ID)
        assert state_as_data(restored) == state_as_data(self.world.state)
        self.world.state = restored

    @invariant()
    def everything_holds(self):
        if hasattr(self, "world"):
            assert findings(self.world.state) == []

    @invariant()
    def what_was_acknowledged_stays_committed(self):
        for stream_id, end in getattr(self, "acknowledged", {}).items():
            stream = self.world.state.streams.get(stream_id)
            assert stream is None or stream.committed_end >= end

    def teardown(self):
        if not hasattr(self, "world"):
            return
        other = State(CLUSTER_ID)
        for record in self.world.records:
            other.replay(record)
        assert state_as_data(other) == state_as_data(self.world.state)


STEPS = {
    "revive": lambda rng: (rng.randrange(3), rng.randrange(1000)),
    "start_strangely": lambda rng: (rng.randrange(3), rng.random() < 0.5, rng.randrange(2), True, rng.randrange(9)),
    "node_step": lambda rng: (
        rng.randrange(3),
        rng.randrange(6),
        rng.randrange(3),
        rng.choice([c.ConfirmWal, c.NodeStopped, c.FenceNode, c.LiftFence, c.RescueDone, c.RescueNode]),
    ),
    "accept_wal_loss": lambda rng: (rng.randrange(3), int(rng.random() < 0.2), rng.randrange(4)),
    "create": lambda rng: (rng.choice(["a", "a.b", "a_b", "b", "d"]), rng.randrange(4)),
    "change_topic": lambda rng: (
        rng.randrange(1000),
        rng.randrange(6),
        rng.randrange(3),
        rng.choice(["grow", "delete", "assign", "assign", "assign"]),
    ),
    "open": lambda rng: (rng.randrange(1000), rng.randrange(20), rng.randrange(3), 4),
    "close": lambda rng: (rng.randrange(1000), rng.randrange(9), rng.randrange(2)),
    "commit": lambda rng: (rng.randrange(3), rng.randrange(1, 6), rng.choice([0, 0, 0, 0, 1, -1]), rng.randrange(20)),
    "compact": lambda rng: (rng.randrange(1000), rng.randrange(3), rng.randrange(1, 5)),
    "advance": lambda rng: (rng.randrange(1000), rng.randrange(-1, 9)),
    "clean_up": lambda rng: (rng.randrange(1000), rng.random() < 0.3),
    "repeat_something_old": lambda rng: (rng.randrange(100_000),),
    "restart_from_a_snapshot": lambda rng: (),
}
"""The same steps with ordinary chance: long walks get far into lives of streams and objects, which rules seldom do."""

WEIGHTS = {"commit": 8, "open": 3, "compact": 4, "revive": 3, "advance": 2, "repeat_something_old": 2}


@pytest.mark.parametrize("seed", range(12))
def test_long_walks_keep_every_promise(seed):
    rng = Random(seed)
    machine = MetadataMachine()
    machine.begin()
    names = [name for name in STEPS for _ in range(WEIGHTS.get(name, 1))]
    for _ in range(400):
        name = rng.choice(names)
        getattr(machine, name)(*STEPS[name](rng))
        machine.everything_holds()
        machine.what_was_acknowledged_stays_committed()
    machine.teardown()
    happened = {type(record).__name__ for record in machine.world.records}
    assert {"ObjectAdded", "ObjectReplacing", "StartAdvanced", "StreamOpened"} <= happened


MetadataMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
TestRandomCommands = MetadataMachine.TestCase
