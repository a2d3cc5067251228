"""A twin of the log behind a group coordinator: carries out effects, keeps records, answers appends when told to.

`Bench` drives one Coordinator on a clock of its own: call its methods as a client would, read `answers` by token.
"""

from typing import Any

from automq_broker.groups import records as group_records
from automq_broker.groups.coordinator import Coordinator
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.values import (
    Append,
    CommitRequest,
    FetchRequest,
    HeartbeatRequest,
    JoinRequest,
    LeaveRequest,
    LeavingMember,
    Now,
    OffsetToCommit,
    Protocol,
    Reply,
    SyncRequest,
    TopicToFetch,
)
from automq_broker.groups.written import Record
from automq_broker.wire.codes import ErrorCode

WALL_MS = 1_700_000_000_000


class Bench:
    """A coordinator, its log and its time. With `holds` set, appends wait for `let_go`; `refuses` makes them fail."""

    def __init__(self, **knobs: Any) -> None:
        self.knobs = GroupKnobs(**{"initial_rebalance_delay_ms": 0, **knobs})
        self.coordinator = Coordinator(self.knobs)
        self.ms = 1000
        self.answers: dict[Any, Any] = {}
        self.log: list[tuple[bytes, bytes | None]] = []
        self.waiting: list[Append] = []
        self.holds = False
        self.checks = True
        self.refuses: ErrorCode | None = None
        self._tokens = 0
        self.run(self.coordinator.on_loaded(self.now))

    @property
    def now(self) -> Now:
        return Now(self.ms, WALL_MS + self.ms)

    def run(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Reply):
                assert effect.token not in self.answers, f"{effect.token} was answered twice"
                self.answers[effect.token] = effect.answer
            else:
                self.waiting.append(effect)
        if self.checks:
            self.coordinator.check()
        if not self.holds:
            self.let_go()

    def let_go(self, count: int | None = None) -> None:
        """End waiting appends in order: durable, or refused with `refuses`."""
        while self.waiting and count != 0:
            append = self.waiting.pop(0)
            if self.refuses is None:
                self.log.extend(group_records.encode(record) for record in append.records)
            fault = ErrorCode.NONE if self.refuses is None else self.refuses
            held, self.holds = self.holds, True
            self.run(self.coordinator.on_appended(append.ticket, fault, self.now))
            self.holds = held
            count = None if count is None else count - 1

    def advance(self, ms: int) -> None:
        """Let time pass, stopping at every deadline as the engine would."""
        end = self.ms + ms
        while (at := self.coordinator.next_deadline()) is not None and at <= end:
            self.ms = max(self.ms, at)
            self.run(self.coordinator.on_tick(self.now))
        self.ms = end

    def ask(self, event: str, *arguments: Any) -> Any:
        """Send one event; returns the answer, or the token if it is still waited for."""
        self._tokens += 1
        token = self._tokens
        self.run(getattr(self.coordinator, f"on_{event}")(*arguments, token, self.now))
        return self.answers.get(token, token)

    def reloaded(self) -> Coordinator:
        """A coordinator built from the log alone, as after a restart."""
        latest: dict[bytes, bytes | None] = {}
        for key, value in self.log:
            latest[key] = value
        decoded = [group_records.decode(key, value) for key, value in latest.items() if value is not None]
        fresh = Coordinator(self.knobs)
        fresh.load([record for record in decoded if record is not None])
        fresh.check()
        return fresh

    # --- what clients send ----------------------------------------------------------------------------------------

    def join(self, member_id: str = "", group_id: str = "g", **changes: Any) -> Any:
        return self.ask("join", join_request(member_id, group_id, fresh_id=f"id{self._tokens}", **changes))

    def join_new(self, client_id: str = "c", **changes: Any) -> Any:
        """Both steps of KIP-394; returns (member id, answer or token)."""
        asked = self.join(client_id=client_id, **changes)
        assert asked.error is ErrorCode.MEMBER_ID_REQUIRED, asked
        return asked.member_id, self.join(asked.member_id, client_id=client_id, **changes)

    def sync(self, member_id: str, generation: int, group_id: str = "g", **changes: Any) -> Any:
        return self.ask("sync", SyncRequest(group_id=group_id, member_id=member_id, generation=generation, **changes))

    def heartbeat(
        self, member_id: str, generation: int, group_id: str = "g", instance_id: str | None = None
    ) -> ErrorCode:
        request = HeartbeatRequest(
            group_id=group_id, member_id=member_id, generation=generation, instance_id=instance_id
        )
        error: ErrorCode = self.ask("heartbeat", request).error
        return error

    def leave(self, *members: LeavingMember, group_id: str = "g") -> Any:
        return self.ask("leave", LeaveRequest(group_id, members))

    def commit(self, offset: int, *, topic: str = "t", partition: int = 0, group_id: str = "g", **changes: Any) -> Any:
        asked = OffsetToCommit(topic, partition, offset, metadata=changes.pop("metadata", ""))
        return self.ask("commit", CommitRequest(group_id=group_id, offsets=(asked,), **changes))

    def fetch(self, *, topic: str = "t", partition: int = 0, group_id: str = "g") -> Any:
        return self.ask("fetch", FetchRequest(group_id, (TopicToFetch(topic, (partition,)),)))

    def position(self, **where: Any) -> int | None:
        """The committed offset, None if there is none."""
        value = self.fetch(**where).topics[0].partitions[0][1]
        return None if value is None else value.offset

    def stable(self, *client_ids: str, group_id: str = "g", **changes: Any) -> list[str]:
        """A stable group with one member per client id; returns the member ids, the leader first."""
        steps = [self.join_new(client_id, group_id=group_id, **changes) for client_id in client_ids]
        self.advance(self.knobs.initial_rebalance_delay_ms * 4 + 1)
        answers = [self.answers[step[1]] if isinstance(step[1], int) else step[1] for step in steps]
        generation = answers[0].generation
        ids = [step[0] for step in steps]
        for member_id in reversed(ids):
            assignments = tuple((m, f"for {m}".encode()) for m in ids) if member_id == answers[0].leader else ()
            self.sync(member_id, generation, group_id=group_id, assignments=assignments)
        assert self.coordinator.groups[group_id].state == "Stable"
        return ids


def join_request(member_id: str = "", group_id: str = "g", *, fresh_id: str = "new", **changes: Any) -> JoinRequest:
    """A consumer's join with two protocols, `range` preferred."""
    fields: dict[str, Any] = {
        "group_id": group_id,
        "member_id": member_id,
        "client_id": "c",
        "client_host": "/127.0.0.1",
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 60_000,
        "protocol_type": "consumer",
        "protocols": (Protocol("range", b"r"), Protocol("roundrobin", b"rr")),
        "fresh_id": fresh_id,
    }
    return JoinRequest(**{**fields, **changes})


def durable_view(coordinator: Coordinator) -> dict[str, set[Record]]:
    """What a coordinator would find again after a restart, by group."""
    return {g: set(records) for g in coordinator.groups if (records := coordinator.snapshot(g))}


__all__ = ["WALL_MS", "Bench", "durable_view", "join_request"]
