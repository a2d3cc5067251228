"""The WAL against a model: whatever is appended, cut, completed, trimmed, and cut off from power, acks survive.

The model knows every body by its number and which of them were acked. After each crash: what is recovered is a run of
the appended records without a gap, as they were, from at most the oldest untrimmed one to at least the newest acked one.
"""

import random

import pytest
from automq_broker.kernel.errors import Retry
from automq_broker.kernel.ids import Lsn
from automq_broker.wal.format import RecordKind
from automq_broker.wal.recovery import read_superblocks
from automq_broker.wal.superblock import claimed
from automq_broker.wal.writer import WalWriter
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twins.memory_wal import MemoryWal
from twins.wal_driver import allocate, batch, drive, fresh_writer, header, scan, store

MIB = 1 << 20
CAPACITY = 4 * MIB
SIZES = st.one_of(st.integers(61, 9000), st.sampled_from([4096, 65_000, 400_000, 1_048_464, 1_048_576, 1_300_000]))


class WalModel(RuleBasedStateMachine):
    """One WAL through several lives. Groups are acked as the engine acks them: whole, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryWal(CAPACITY, is_manual=True)
        self.writer = fresh_writer(self.disk, window_bytes=MIB)
        self.epoch = 1
        self.number = 0
        self.bodies: dict[int, bytes] = {}
        self.kinds: dict[int, RecordKind] = {}
        self.lsns: dict[int, Lsn] = {}
        self.groups: list[tuple[Lsn, int]] = []
        self.acked = 0  # everything below this number
        self.kept_from = 0  # everything below was given to trim

    @initialize(seed=st.integers(0, 1 << 16))
    def start(self, seed: int) -> None:
        self.chance = random.Random(seed)

    @rule(size=SIZES, kind=st.sampled_from(list(RecordKind)))
    def append(self, size: int, kind: RecordKind) -> None:
        body = bytes(batch(size, base=self.number, fill=self.number))
        try:
            placed = self.writer.append(header(base=self.number, kind=kind), body)
        except Retry:
            assert self.writer.free_bytes < size + 2 * 4096
            return
        self.bodies[self.number] = body
        self.kinds[self.number] = kind
        self.lsns[self.number] = placed.lsn
        self.number += 1

    @rule()
    def cut(self) -> None:
        writes = self.writer.cut(self.writer.durable_lsn)
        self.groups.append((self.writer.appended_lsn, self.number))
        for write in writes:
            self.submit(write)

    @rule(count=st.integers(1, 4))
    def complete(self, count: int) -> None:
        self.disk.complete(count)

    @rule()
    def idle(self) -> None:
        write = self.writer.idle_block(self.writer.durable_lsn)
        if write is not None:
            self.submit(write)

    @precondition(lambda self: self.acked > self.kept_from)
    @rule(share=st.floats(0, 1))
    def trim(self, share: float) -> None:
        self.kept_from += round((self.acked - self.kept_from) * share)
        everything = self.kept_from == self.number and not self.writer.has_pending
        self.writer.trim(self.writer.durable_lsn if everything else self.lsns.get(self.kept_from, Lsn(0)))

    @rule()
    def write_superblock(self) -> None:
        write = self.writer.superblock(zeroed_bytes=0)
        if write is not None:
            self.submit(write)

    @precondition(lambda self: self.acked > self.kept_from)
    @rule(share=st.floats(0, 0.999))
    def read_back(self, share: float) -> None:
        number = self.kept_from + int((self.acked - self.kept_from) * share)
        plan = self.writer.read_plan(self.lsns[number], len(self.bodies[number]))
        about, body = self.writer.extract(self.lsns[number], [self.disk.read_blocking(*part) for part in plan])
        assert about == header(base=number, kind=self.kinds[number])
        assert body == self.bodies[number]

    @rule()
    def crash(self) -> None:
        self.disk = MemoryWal(is_manual=True, platter=self.disk.power_cut(self.chance.getrandbits(32)))
        superblock = drive(read_superblocks(), self.disk.read_blocking)
        assert superblock is not None
        self.epoch += 1
        store(self.disk, claimed(superblock, self.epoch))
        recovered, records = scan(self.disk)
        numbers = [record.header.base_offset for record in records]
        first, behind = (numbers[0], numbers[-1] + 1) if numbers else (self.acked, self.acked)
        assert numbers == list(range(first, behind))
        assert first <= self.kept_from or not numbers
        assert behind >= self.acked or (not numbers and self.acked == self.kept_from)
        for record in records:
            assert record.header == header(base=record.header.base_offset, kind=self.kinds[record.header.base_offset])
            assert b"".join(record.segments) == self.bodies[record.header.base_offset]
            assert self.lsns[record.header.base_offset] == record.lsn
        self.number = self.acked = max(behind, self.acked)
        self.groups.clear()
        self.writer = WalWriter(recovered.ring, self.epoch, allocate)

    @invariant()
    def bounds_hold(self) -> None:
        assert self.writer.in_flight_bytes <= MIB
        assert self.writer.durable_lsn <= self.writer.appended_lsn
        assert self.writer.proven_lsn <= self.writer.durable_lsn
        assert 0 <= self.writer.free_bytes <= CAPACITY

    def submit(self, write) -> None:
        def done(error: BaseException | None) -> None:
            assert error is None
            self.writer.completed(write)
            while self.groups and self.groups[0][0] <= self.writer.durable_lsn:
                self.acked = self.groups.pop(0)[1]

        self.disk.write(write.position, write.data, done)


WalModel.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
test_acks_survive_whatever_happens = WalModel.TestCase


@pytest.mark.parametrize("seed", range(12))
def test_acks_survive_many_laps(seed):
    """The same model on a long walk that favours progress, so that the ring goes round many times between crashes."""
    chance = random.Random(seed)
    model = WalModel()
    model.start(seed)
    sizes = (61, 700, 4000, 9000, 60_000, 400_000, 1_100_000)
    laps = 0
    for _ in range(600):
        step = chance.choices(("append", "cut", "complete", "trim", "superblock", "idle", "read", "crash"),
                              (12, 6, 8, 4, 3, 1, 2, 0.5))[0]  # fmt: skip
        if step == "append":
            model.append(chance.choice(sizes) + chance.randrange(500), chance.choice(list(RecordKind)))
        elif step == "complete":
            model.complete(chance.randint(1, 6))
        elif step == "trim" and model.acked > model.kept_from:
            model.trim(chance.choice((0.3, 0.8, 1.0)))
        elif step == "read" and model.acked > model.kept_from:
            model.read_back(chance.random() * 0.999)
        elif step in ("cut", "idle", "crash"):
            getattr(model, step)()
        elif step == "superblock":
            model.write_superblock()
        model.bounds_hold()
        laps = model.writer.appended_lsn // (CAPACITY - MIB)
    model.crash()
    assert laps >= 3, "a walk that does not go round shows nothing"
