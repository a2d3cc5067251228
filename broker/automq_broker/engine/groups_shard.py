"""One open partition of `__consumer_offsets`: its machine, its log, and whether it is ready to answer."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import Any, TypeVar

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


class ShardState(Enum):
    """What callers are told before the machine is asked."""

    LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    ACTIVE = ErrorCode.NONE
    FAILED = ErrorCode.COORDINATOR_NOT_AVAILABLE
    """The log holds what cannot be read; an operator has to look."""
    CLOSED = ErrorCode.NOT_COORDINATOR


class GroupShard:
    """Feeds the machine and carries out its effects. `arm(deadline_ms)` is told when the machine wants a tick."""

    def __init__(
        self, handle: PartitionHandle, clock: Clock, knobs: GroupKnobs, arm: Callable[[int | None], None]
    ) -> None:
        self.handle = handle
        self.state = ShardState.LOADING
        self.coordinator = Coordinator(knobs)
        self.snapshot_s = clock.monotonic()
        """When the last snapshot was taken, or the load began."""
        self._clock = clock
        self._arm = arm
        self._gone_topics: set[str] = set()
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

    def forget_topics(self, names: frozenset[str]) -> None:
        """Topics are gone; while loading, the names are kept until their positions are known."""
        if self.state is ShardState.ACTIVE:
            self.perform(self.coordinator.on_topics_deleted(names, self.now()))
        elif self.state is ShardState.LOADING:
            self._gone_topics |= names

    async def load(self) -> None:
        """Read the log and become active. The bucket's troubles are waited out; unreadable records are not."""
        while self.state is ShardState.LOADING:
            try:
                await self._load()
                return
            except (BucketUnavailable, BucketDenied, Retry) as trouble:
                logger.warning("loading groups of %s-%d waits: %s", self.handle.topic, self.handle.index, trouble)
                self.coordinator = Coordinator(self.coordinator.knobs)
                await asyncio.sleep(_LOAD_RETRY_S)
            except (Corrupt, WireError, ClientFault) as damage:
                if self.state is ShardState.LOADING:
                    self.state = ShardState.FAILED
                    logger.error("groups of %s-%d cannot be loaded: %s", self.handle.topic, self.handle.index, damage)

    async def _load(self) -> None:
        started = self._clock.monotonic()
        latest = iter((await self.log.latest()).items())
        while chunk := list(islice(latest, _LOAD_CHUNK)):
            decoded = [group_records.decode(key, value) for key, value in chunk]
            self.coordinator.load([record for record in decoded if record is not None])
            await asyncio.sleep(0)
        if self.state is not ShardState.LOADING:
            return
        self.state = ShardState.ACTIVE
        self.perform(self.coordinator.on_loaded(self.now()))
        if self._gone_topics:
            self.forget_topics(frozenset(self._gone_topics))
        logger.info(
            "groups of %s-%d loaded: %d groups, %d bytes, %.3f s",
            self.handle.topic,
            self.handle.index,
            len(self.coordinator.groups),
            self.log.bytes_since_snapshot,
            self._clock.monotonic() - started,
        )

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

    def _group_ids(self) -> list[str]:
        self.check_ready()  # SAFETY: a closed machine knows no groups, which must not pass for "nothing is alive"
        return list(self.coordinator.groups)

    def _durable_records(self, group_id: str) -> tuple[Record, ...]:
        self.check_ready()
        return self.coordinator.snapshot(group_id)

    def _append_ended(self, ticket: int, fault: ErrorCode) -> None:
        self.perform(self.coordinator.on_appended(ticket, fault, self.now()))


__all__ = ["GroupShard", "ShardState"]
