"""One open partition of `__consumer_offsets`: its machine, its log, and whether it is ready to answer."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

from automq_broker.engine.groups_loading import GroupsLoading
from automq_broker.engine.groups_log import GroupsLog, PartitionHandle
from automq_broker.engine.groups_waiting import Waiting
from automq_broker.groups import records as group_records
from automq_broker.groups.coordinator import Coordinator
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.values import Effect, Now, Reply
from automq_broker.groups.written import Record
from automq_broker.kernel.errors import ClientFault, Corrupt, Retry
from automq_broker.ports import BucketDenied, BucketUnavailable, Clock
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.primitives import WireError

R = TypeVar("R")
logger = logging.getLogger(__name__)

_LOAD_CHUNK = 500
"""Keys put into the machine before others get their turn of the loop."""

_LOAD_RETRY_S = 0.5

_DAMAGE_RETRY_S = 10.0


class ShardState(Enum):
    """What callers are told before the machine is asked."""

    LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    ACTIVE = ErrorCode.NONE
    FAILED = ErrorCode.COORDINATOR_NOT_AVAILABLE
    """The log holds what could not be read the last time; an operator has to look if that lasts."""
    CLOSED = ErrorCode.NOT_COORDINATOR


class GroupShard:
    """Feeds the machine and carries out its effects. `arm(deadline_ms)` is told when the machine wants a tick."""

    def __init__(
        self,
        handle: PartitionHandle,
        clock: Clock,
        knobs: GroupKnobs,
        arm: Callable[[int | None], None],
        is_topic: Callable[[str], bool],
    ) -> None:
        self.handle = handle
        self.state = ShardState.LOADING
        self.coordinator = Coordinator(knobs)
        self.snapshot_s = clock.monotonic()
        """When the last snapshot was taken, or the load began."""
        self._clock = clock
        self._arm = arm
        self._is_topic = is_topic
        self._created_topics: set[str] = set()
        self.log = GroupsLog(handle, clock, self._append_ended)

    def now(self) -> Now:
        """The time of an event."""
        return Now(int(self._clock.monotonic() * 1000), self._clock.now_ms())

    def check_ready(self) -> None:
        """Raises ClientFault with what a client is told while this partition cannot answer."""
        if self.state is not ShardState.ACTIVE:
            raise ClientFault(self.state.value)

    def ask(
        self, event: Callable[[Any, Any, Now], list[Effect]], request: Any, respond: Callable[[Any], R]
    ) -> "R | asyncio.Future[R]":
        """One request: its response, or a future of it. Raises ClientFault while this partition cannot answer."""
        self.check_ready()
        waiting = Waiting(respond)
        self.perform(event(request, waiting, self.now()))
        return waiting.result()

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry out effects in order."""
        for effect in effects:
            if isinstance(effect, Reply):
                token = effect.token
                assert isinstance(token, Waiting)
                token.resolve(effect.answer)
            else:
                self.log.append(effect)
        self._arm(self.coordinator.next_deadline())

    def tick(self) -> None:
        """Let the machine look at the time."""
        if self.state is ShardState.ACTIVE:
            self.perform(self.coordinator.on_tick(self.now()))

    def topics_changed(self, created: frozenset[str], *, is_any_gone: bool) -> None:
        """See GroupCoordinators. While loading, every position was committed before a topic that is created now."""
        if self.state is ShardState.ACTIVE and is_any_gone:
            self._forget_topics(created)
        elif self.state is not ShardState.ACTIVE:
            self._created_topics |= created

    async def load(self, loading: GroupsLoading) -> None:
        """Read the log and become active; `loading` hears how it goes. The bucket's troubles are waited out.

        What cannot be read is said, and read again later: a bucket may have answered with damaged bytes once, and the
        object may be restored meanwhile.
        """
        index = self.handle.index
        while self.state is not ShardState.CLOSED:
            try:
                await self._load()
                break
            except (BucketUnavailable, BucketDenied, Retry) as trouble:
                loading.waits(index, trouble)
                pause_s = _LOAD_RETRY_S
            except (Corrupt, WireError, ClientFault) as damage:
                if not self._has_failed():
                    break
                loading.left(index)
                logger.error("groups of %s-%d cannot be loaded: %s", self.handle.topic, index, damage)
                pause_s = _DAMAGE_RETRY_S
            self.coordinator = Coordinator(self.coordinator.knobs)
            await asyncio.sleep(pause_s)
        if self.state is ShardState.ACTIVE:
            loading.loaded(index, groups=len(self.coordinator.groups), size_bytes=self.log.bytes_since_snapshot)
        else:
            loading.left(index)

    def _has_failed(self) -> bool:
        """Callers are told so from now on, unless the partition closed meanwhile."""
        if self.state is not ShardState.CLOSED:
            self.state = ShardState.FAILED
        return self.state is ShardState.FAILED

    async def _load(self) -> None:
        latest = iter((await self.log.latest()).items())
        while chunk := list(islice(latest, _LOAD_CHUNK)):
            decoded = [group_records.decode(key, value) for key, value in chunk]
            self.coordinator.load([record for record in decoded if record is not None])
            await asyncio.sleep(0)
        if self.state is ShardState.CLOSED:
            return
        self.state = ShardState.ACTIVE
        self.perform(self.coordinator.on_loaded(self.now()))
        self._forget_topics(frozenset(self._created_topics))

    def close(self) -> None:
        """The partition is gone: everybody who waits is told to look for the new coordinator."""
        was_active = self.state is ShardState.ACTIVE
        self.state = ShardState.CLOSED
        if was_active:
            self.perform(self.coordinator.on_unload(self.now()))
        self.log.refuse_queued(ErrorCode.NOT_COORDINATOR)

    def is_snapshot_due(self, *, bytes_max: int, interval_s: float) -> bool:
        """Whether the log is worth rewriting."""
        is_old = self._clock.monotonic() - self.snapshot_s >= interval_s
        return self.state is ShardState.ACTIVE and self.log.is_snapshot_due(bytes_max=bytes_max, is_old=is_old)

    async def snapshot(self) -> None:
        """Write the live state anew and forget the log before it. Troubles are left to the next time."""
        self.snapshot_s = self._clock.monotonic()
        try:
            await self.log.snapshot(self._group_ids, self._durable_records)
        except (ClientFault, BucketUnavailable, BucketDenied, Retry) as trouble:
            logger.warning("snapshot of %s-%d put off: %s", self.handle.topic, self.handle.index, trouble)

    def _forget_topics(self, created: frozenset[str]) -> None:
        """Forget positions in topics that do not exist, and those in `created`, which are of an older topic's."""
        named = {topic for _, topic, _, _ in self.coordinator.committed_offsets()}
        gone = frozenset(topic for topic in named if topic in created or not self._is_topic(topic))
        if gone:
            self.perform(self.coordinator.on_topics_deleted(gone, self.now()))

    def _group_ids(self) -> list[str]:
        self.check_ready()  # SAFETY: a closed machine knows no groups, which must not pass for "nothing is alive"
        return list(self.coordinator.groups)

    def _durable_records(self, group_id: str) -> tuple[Record, ...]:
        self.check_ready()
        return self.coordinator.snapshot(group_id)

    def _append_ended(self, ticket: int, fault: ErrorCode) -> None:
        self.perform(self.coordinator.on_appended(ticket, fault, self.now()))


__all__ = ["GroupShard", "ShardState"]
