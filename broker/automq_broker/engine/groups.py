"""The group coordinators of this broker: one shard per open partition of `__consumer_offsets`, one timer for all.

Every request runs in the turn in which it arrives; there is no task per request. One task writes snapshots, one
shard after the other; loading is one task per opened partition, and ends.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from automq_broker.engine.groups_loading import GroupsLoading
from automq_broker.engine.groups_log import PartitionHandle
from automq_broker.engine.groups_shard import GroupShard
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.placement import GROUPS_TOPIC, partition_for
from automq_broker.groups.values import (
    CommitAnswer,
    CommitRequest,
    DeleteAnswer,
    DescribedGroup,
    FetchAnswer,
    FetchRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    LeaveAnswer,
    LeaveRequest,
    OffsetDeleteAnswer,
    OffsetDeleteRequest,
    SyncAnswer,
    SyncRequest,
)
from automq_broker.kernel.errors import ClientFault
from automq_broker.ports import Clock
from automq_broker.wire.codes import ErrorCode

R = TypeVar("R")
StartTask = Callable[[str, Coroutine[Any, Any, None]], object]

_SNAPSHOT_LOOKS_PER_INTERVAL = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCoordinatorKnobs:
    """Settings of the glue; the machine's own are in `groups`."""

    groups: GroupKnobs = field(default_factory=GroupKnobs)
    partitions: int = 50
    """offsets.topic.num.partitions, used while the topic does not exist."""
    snapshot_bytes: int = 64 << 20
    """automq.group.snapshot.bytes"""
    snapshot_interval_s: float = 600.0
    """automq.group.snapshot.interval.ms"""


class GroupCoordinators:
    """All groups of this broker. Methods raise ClientFault with the code for the client where a group is not served."""

    def __init__(
        self,
        clock: Clock,
        knobs: GroupCoordinatorKnobs,
        make_id: Callable[[], str],
        *,
        start_task: StartTask,
        is_topic: Callable[[str], bool],
        partition_count: Callable[[], int | None] = lambda: None,
    ) -> None:
        """`make_id` gives random strings for member ids; `partition_count` the topic's size, None without it.

        `is_topic` tells whether a topic exists, by the metadata of this moment.
        """
        self.knobs = knobs
        self.make_id = make_id
        self._clock = clock
        self._start_task = start_task
        self._is_topic = is_topic
        self._partition_count = partition_count
        self._loop = asyncio.get_running_loop()
        self._shards: dict[int, GroupShard] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._is_snapshotting = False
        self._loading = GroupsLoading(clock)

    # --- partitions come and go -----------------------------------------------------------------------------------

    def opened(self, handle: PartitionHandle) -> None:
        """A partition opened; those of other topics are not looked at. Its groups answer once they are loaded."""
        if handle.topic != GROUPS_TOPIC:
            return
        shard = GroupShard(handle, self._clock, self.knobs.groups, self._arm, self._is_topic)
        self._shards[handle.index] = shard
        self._loading.began(handle.index)
        self._start_task(f"load groups {handle.index}", shard.load(self._loading))
        if not self._is_snapshotting:
            self._is_snapshotting = True
            self._start_task("group snapshots", self._write_snapshots())

    def closed(self, handle: PartitionHandle) -> None:
        """A partition closed: its groups answer NOT_COORDINATOR, also to everybody who waits."""
        if handle.topic != GROUPS_TOPIC:
            return
        shard = self._shards.get(handle.index)
        if shard is not None and shard.handle is handle:
            del self._shards[handle.index]
            shard.close()

    def topics_changed(self, created: frozenset[str], *, is_any_gone: bool) -> None:
        """Topics came or went, and the metadata says so since this moment: positions in what is gone are forgotten.

        `created` names what is new in the same commit, so that a topic that takes a deleted one's name begins without
        positions, also where they are still being loaded.
        """
        for shard in self._shards.values():
            shard.topics_changed(created, is_any_gone=is_any_gone)

    def close(self) -> None:
        """Before the process ends: everybody who waits is told."""
        for shard in list(self._shards.values()):
            self.closed(shard.handle)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- requests -------------------------------------------------------------------------------------------------

    def partition_of(self, group_id: str) -> int:
        """The partition of `__consumer_offsets` that keeps a group."""
        return partition_for(group_id, self._partition_count() or self.knobs.partitions)

    def join(self, request: JoinRequest, respond: Callable[[JoinAnswer], R]) -> "R | asyncio.Future[R]":
        """JoinGroup; waits for the join phase to end."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_join, request, respond)

    def sync(self, request: SyncRequest, respond: Callable[[SyncAnswer], R]) -> "R | asyncio.Future[R]":
        """SyncGroup; waits for the leader's assignment to be durable."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_sync, request, respond)

    def heartbeat(self, request: HeartbeatRequest, respond: Callable[[HeartbeatAnswer], R]) -> "R | asyncio.Future[R]":
        """Heartbeat."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_heartbeat, request, respond)

    def leave(self, request: LeaveRequest, respond: Callable[[LeaveAnswer], R]) -> "R | asyncio.Future[R]":
        """LeaveGroup."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_leave, request, respond)

    def commit(self, request: CommitRequest, respond: Callable[[CommitAnswer], R]) -> "R | asyncio.Future[R]":
        """OffsetCommit; waits to be durable."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_commit, request, respond)

    def fetch(self, request: FetchRequest, respond: Callable[[FetchAnswer], R]) -> "R | asyncio.Future[R]":
        """OffsetFetch for one group; waits for commits that were asked for before it."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_fetch, request, respond)

    def delete_offsets(
        self, request: OffsetDeleteRequest, respond: Callable[[OffsetDeleteAnswer], R]
    ) -> "R | asyncio.Future[R]":
        """OffsetDelete; waits to be durable."""
        shard = self._shard(request.group_id)
        return shard.ask(shard.coordinator.on_offset_delete, request, respond)

    def delete(self, group_id: str, respond: Callable[[DeleteAnswer], R]) -> "R | asyncio.Future[R]":
        """DeleteGroups for one group; waits to be durable."""
        shard = self._shard(group_id)
        return shard.ask(shard.coordinator.on_delete, group_id, respond)

    def describe(self, group_id: str) -> DescribedGroup | None:
        """One group, None if nobody knows it."""
        shard = self._shard(group_id)
        shard.check_ready()
        return shard.coordinator.describe(group_id)

    def listed(self) -> list[DescribedGroup]:
        """All groups, without members. Raises ClientFault if a partition is still loading: the list would lie."""
        for shard in self._shards.values():
            shard.check_ready()
        return [
            DescribedGroup(group_id=group.group_id, state=str(group.state), protocol_type=group.protocol_type or "")
            for shard in self._shards.values()
            for group in shard.coordinator.listed()
        ]

    # --- figures --------------------------------------------------------------------------------------------------

    def committed_offsets(self) -> Iterator[tuple[str, str, int, int]]:
        """(group, topic, partition, offset) of everything committed here, for consumer lag."""
        for shard in self._shards.values():
            for group_id, topic, partition, value in shard.coordinator.committed_offsets():
                yield group_id, topic, partition, value.offset

    def statistics(self) -> dict[str, int]:
        """Counts over all shards, for metrics."""
        totals: dict[str, int] = {"shards": len(self._shards)}
        for shard in self._shards.values():
            for name, count in shard.coordinator.statistics().items():
                totals[name] = totals.get(name, 0) + count
            name = f"shards_{shard.state.name.lower()}"
            totals[name] = totals.get(name, 0) + 1
        return totals

    # --- inside ---------------------------------------------------------------------------------------------------

    def _shard(self, group_id: str) -> GroupShard:
        shard = self._shards.get(self.partition_of(group_id))
        if shard is None:
            raise ClientFault(ErrorCode.NOT_COORDINATOR)
        return shard

    def _arm(self, deadline_ms: int | None) -> None:
        """One timer for all shards, at the earliest deadline; it may fire early and find nothing due."""
        if deadline_ms is None or (self._timer is not None and self._timer_ms <= deadline_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(deadline_ms / 1000 - self._clock.monotonic(), 0.001)
        self._timer_ms = deadline_ms
        self._timer = self._loop.call_later(delay_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for shard in list(self._shards.values()):
            shard.tick()

    async def _write_snapshots(self) -> None:
        """For ever: one shard after the other, so that no more than one is rewritten at a time."""
        interval_s = self.knobs.snapshot_interval_s
        while True:
            await asyncio.sleep(interval_s / _SNAPSHOT_LOOKS_PER_INTERVAL)
            for shard in list(self._shards.values()):
                if shard.is_snapshot_due(bytes_max=self.knobs.snapshot_bytes, interval_s=interval_s):
                    await shard.snapshot()


__all__ = ["GroupCoordinatorKnobs", "GroupCoordinators"]
