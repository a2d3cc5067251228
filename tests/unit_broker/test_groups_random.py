"""Random clients, time and a log that stalls and refuses, against one coordinator. What must hold whatever they do:

one generation at a time, which never goes back; the leader is a member (check() after every step); every caller is answered
exactly once; a member only ever gets the assignment that the leader of its own generation made; the state rebuilt
from the log equals the durable part of the live one; acknowledged offsets are there.
"""

import random
from typing import Any

import pytest
from automq_broker.groups.values import (
    CommitRequest,
    HeartbeatRequest,
    JoinAnswer,
    LeaveRequest,
    LeavingMember,
    OffsetDeleteRequest,
    OffsetToCommit,
    Protocol,
    SyncAnswer,
    SyncRequest,
)
from automq_broker.wire.codes import ErrorCode as E
from twins.group_log import Bench, durable_view, join_request


class Client:
    """A consumer that follows the protocol, but forgets, repeats, changes its mind and dies."""

    def __init__(self, world: "Club", name: str, instance_id: str | None) -> None:
        self.world = world
        self.name = name
        self.instance_id = instance_id
        self.member_id = ""
        self.generation = -1
        self.leads: tuple[str, ...] = ()
        self.pending: dict[str, Any] = {}
        self.flavour = 0
        self.wants_join = True
        self.has_synced = False
        self.synced_generation = -1

    def act(self) -> None:
        self.collect()
        rng = self.world.rng
        kind = self.sensible()
        if rng.random() < 0.12:
            kind = rng.choices(["join", "sync", "beat", "commit", "leave", "crash"], [6, 6, 6, 6, 2, 1])[0]
        getattr(self, f"do_{kind}")()

    def sensible(self) -> str:
        """What a well-behaved consumer would do next."""
        if "join" in self.pending or "sync" in self.pending:
            return "wait"
        if self.wants_join:
            return "join"
        return self.world.rng.choice(["beat", "beat", "commit"]) if self.has_synced else "sync"

    def do_wait(self) -> None:
        return

    def do_join(self) -> None:
        rng = self.world.rng
        self.flavour = rng.choice([self.flavour] * 9 + [self.flavour + 1])
        request = join_request(
            self.member_id,
            instance_id=self.instance_id,
            client_id=self.name,
            fresh_id=str(self.world.next_id()),
            session_timeout_ms=rng.choice([6000, 10_000]),
            rebalance_timeout_ms=rng.choice([0, 5000, 20_000, 20_000, 20_000]),
            requires_known_member_id=rng.random() < 0.7,
            can_skip_assignment=rng.random() < 0.5,
            protocols=(Protocol("range", str(self.flavour).encode()), Protocol("sticky", b"s")),
        )
        self.pending["join"] = self.world.ask("join", request)

    def do_sync(self) -> None:
        given = tuple((m, f"{self.generation}:{m}".encode()) for m in self.leads)
        request = SyncRequest(
            group_id="g",
            member_id=self.member_id,
            generation=self.generation,
            instance_id=self.instance_id,
            assignments=given,
        )
        self.synced_generation = self.generation
        self.pending["sync"] = self.world.ask("sync", request)

    def do_beat(self) -> None:
        asked = HeartbeatRequest(
            group_id="g", member_id=self.member_id, generation=self.generation, instance_id=self.instance_id
        )
        self.pending["beat"] = self.world.ask("heartbeat", asked)

    def do_commit(self) -> None:
        self.world.commit(self.member_id, self.generation, self.instance_id)

    def do_leave(self) -> None:
        self.world.ask("leave", LeaveRequest("g", (LeavingMember(self.member_id, self.instance_id),)))
        self.do_crash()

    def do_crash(self) -> None:
        self.member_id, self.generation, self.leads, self.pending = "", -1, (), {}
        self.wants_join, self.has_synced = True, False

    def collect(self) -> None:
        """Take in what has been answered since."""
        for kind, token in list(self.pending.items()):
            answer = self.world.bench.answers.get(token)
            if answer is None:
                continue
            del self.pending[kind]
            if answer.error in (E.UNKNOWN_MEMBER_ID, E.FENCED_INSTANCE_ID):
                self.do_crash()
                return
            if answer.error in (E.REBALANCE_IN_PROGRESS, E.ILLEGAL_GENERATION):
                self.wants_join = True
            elif isinstance(answer, JoinAnswer):
                self.joined(answer)
            elif isinstance(answer, SyncAnswer) and answer.error is E.NONE:
                self.synced(answer)

    def synced(self, answer: SyncAnswer) -> None:
        self.has_synced = True
        if answer.assignment:
            generation, _, owner = answer.assignment.decode().partition(":")
            assert int(generation) == self.synced_generation
            assert owner.split("-")[0] in (self.name, self.instance_id)

    def joined(self, answer: JoinAnswer) -> None:
        if answer.error is E.MEMBER_ID_REQUIRED:
            self.member_id = answer.member_id
        elif answer.error is E.NONE:
            self.member_id, self.generation = answer.member_id, answer.generation
            self.leads = tuple(m.member_id for m in answer.members)
            self.wants_join, self.has_synced = False, False
            assert bool(answer.members) == (answer.leader == answer.member_id)


class Club:
    """The group's world: clients, the log's moods, time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.bench = Bench(
            initial_rebalance_delay_ms=self.rng.choice([0, 3000]),
            group_max_size=self.rng.choice([3, 2147483647]),
            offsets_retention_ms=60_000,
            offsets_check_interval_ms=7_000,
        )
        self.bench.holds = True
        self.clients = [Client(self, f"c{n}", f"i{n}" if n % 3 == 0 else None) for n in range(5)]
        self.commits: dict[Any, tuple[int, int]] = {}
        self.tokens: list[Any] = []
        self.generation = 0
        self.seen: Any = None
        self.away = 0
        self._ids = 0

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def ask(self, event: str, *arguments: Any) -> Any:
        token = f"{event}#{len(self.tokens)}"
        self.tokens.append(token)
        self.bench.run(getattr(self.bench.coordinator, f"on_{event}")(*arguments, token, self.bench.now))
        self.look()
        return token

    def commit(self, member_id: str, generation: int, instance_id: str | None) -> None:
        partition, offset = self.rng.randrange(3), self.rng.randrange(1000)
        request = CommitRequest(
            group_id="g",
            member_id=member_id,
            generation=generation,
            instance_id=instance_id,
            offsets=(OffsetToCommit("t", partition, offset),),
        )
        self.commits[self.ask("commit", request)] = (partition, offset)

    def look(self) -> None:
        group = self.bench.coordinator.groups.get("g")
        if group is None or group is not self.seen:
            self.seen, self.generation = group, 0 if group is None else group.generation
        else:
            assert group.generation >= self.generation, "generations never go back"
            self.generation = group.generation

    def step(self) -> None:
        if self.rng.random() < 0.01:
            self.away = 12
            for client in self.clients:
                client.do_leave()
        self.away -= 1
        if self.away > 0:
            self.administer()
        else:
            self.rng.choice(self.clients).act()
        mood = self.rng.random()
        self.bench.refuses = E.COORDINATOR_NOT_AVAILABLE if mood < 0.05 else None
        if mood < 0.75:
            self.bench.let_go(self.rng.choice([1, 2, None]))
        if self.rng.random() < 0.3:
            self.bench.advance(self.rng.choice([1, 1, 100, 100, 1500, 4000]))
        if self.rng.random() < 0.02:
            self.ask("delete", "g")
        if self.rng.random() < 0.02:
            self.ask("offset_delete", OffsetDeleteRequest("g", (("t", 0),)))
        self.look()

    def administer(self) -> None:
        """Nobody is in the group: commits without a generation, deletions, silence."""
        kind = self.rng.choice(["commit", "commit", "delete", "forget", "silence"])
        if kind == "commit":
            self.commit("", -1, None)
        elif kind == "delete":
            self.ask("delete", "g")
        elif kind == "forget":
            self.ask("offset_delete", OffsetDeleteRequest("g", (("t", self.rng.randrange(3)),)))
        else:
            self.bench.advance(self.rng.choice([10, 8000, 30_000, 61_000]))

    def settle(self) -> None:
        """Let everything that waits come to its end: the log answers and all deadlines pass."""
        self.bench.refuses = None
        for _ in range(40):
            self.bench.let_go()
            self.bench.advance(400_000 if not self.bench.waiting else 0)
            self.look()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_clients_do(seed: int) -> None:
    club = Club(seed)
    for number in range(220):
        club.step()
        if number % 40 == 39:
            club.bench.refuses = None
            while club.bench.waiting:
                club.bench.let_go()
            assert durable_view(club.bench.reloaded()) == durable_view(club.bench.coordinator)
    club.settle()
    assert [token for token in club.tokens if token not in club.bench.answers] == []
    assert durable_view(club.bench.reloaded()) == durable_view(club.bench.coordinator)


@pytest.mark.parametrize("seed", range(4))
def test_the_same_seed_gives_the_same_log(seed: int) -> None:
    logs = []
    for _ in range(2):
        club = Club(seed)
        for _ in range(150):
            club.step()
        logs.append(club.bench.log)
    assert logs[0] == logs[1]


def test_acknowledged_offsets_never_go_back_after_a_reload() -> None:
    bench = Bench()
    rng = random.Random(1)
    acked: dict[tuple[str, int], int] = {}
    for number in range(400):
        group_id, partition = f"g{rng.randrange(5)}", rng.randrange(4)
        bench.refuses = E.NOT_COORDINATOR if rng.random() < 0.1 else None
        if bench.commit(number, group_id=group_id, partition=partition).error is E.NONE:
            acked[group_id, partition] = number
        if number % 50 == 49:
            bench.coordinator = bench.reloaded()
            found = {(g, p): value.offset for g, _, p, value in bench.coordinator.committed_offsets()}
            assert found == acked


def test_two_thousand_members_come_rebalance_and_go() -> None:
    bench = Bench()
    bench.checks = False  # a whole check per heartbeat would be the test's own cost
    ids = bench.stable(*(f"c{n}" for n in range(2000)))
    assert len(bench.coordinator.groups["g"].members) == 2000
    for member_id in ids:
        assert bench.heartbeat(member_id, 1) is E.NONE
    tokens = [bench.join(member_id) for member_id in ids]
    assert {bench.answers[t].generation if isinstance(t, int) else t.generation for t in tokens} == {2}
    assert bench.leave(*(LeavingMember(member_id) for member_id in ids)).member_errors == (E.NONE,) * 2000
    assert bench.coordinator.groups["g"].state == "Empty"
