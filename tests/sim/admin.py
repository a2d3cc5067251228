"""An administrator: topics come and go, records are deleted, retention is set; and a group that commits its position."""

import asyncio
from functools import partial
from uuid import UUID

from automq_broker.groups.placement import GROUPS_TOPIC, partition_for
from automq_broker.groups.values import (
    CommitAnswer,
    CommitRequest,
    FetchAnswer,
    FetchRequest,
    OffsetToCommit,
    TopicToFetch,
)
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.meta.commands import Command, CreateTopic, DeleteTopic, SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.wire.codes import ErrorCode

from sim.clients import TRY_AGAIN, Client, Scene, TopicModel, find
from sim.history import Key, Violation
from sim.process import BrokerProcess, Gone

_CALL_TIMEOUT_S = 30.0
GROUPS_TOPIC_ID = UUID(int=999_999)
GROUPS_PARTITIONS = 2


class Admin(Client):
    """Keeps between one and `topics` topics."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self._created = 0

    async def run(self) -> None:
        """The topics first, then changes with pauses."""
        await self._create_groups_topic()
        for _ in range(self.scene.world.options.work.topics):
            await self.create_topic()
        while not self.scene.is_ending:
            await asyncio.sleep(self.rng.expovariate(1 / self.scene.world.options.work.admin_pause_s))
            await self.round()

    async def round(self) -> None:
        """One change."""
        live = [topic for topic in self.scene.topics if topic.is_live]
        choice = self.rng.random()
        if len(live) < self.scene.world.options.work.topics:
            await self.create_topic()
        elif choice < 0.08 and len(live) > 1:
            await self._delete_topic(self.rng.choice(live))
        elif choice < 0.2:
            await self._set_retention(self.rng.choice(live))
        elif (key := self.choose_key()) is not None:
            await self._delete_records(key)

    async def create_topic(self) -> None:
        """A new name each time; repeated until the outcome is known."""
        self._created += 1
        topic = TopicModel(UUID(int=self._created), f"t{self._created}", self.rng.randint(1, self._partitions_max))
        self.scene.topics.append(topic)
        command = CreateTopic(name=topic.name, topic_id=topic.topic_id, partitions=topic.partitions)
        topic.is_live = await self._submit(command)
        self.note(f"created {topic.name} with {topic.partitions}")

    async def _create_groups_topic(self) -> None:
        configs = {"cleanup.policy": "compact"}
        await self._submit(
            CreateTopic(
                name=GROUPS_TOPIC,
                topic_id=GROUPS_TOPIC_ID,
                partitions=GROUPS_PARTITIONS,
                configs=configs,
                is_internal=True,
            )
        )

    async def _delete_topic(self, topic: TopicModel) -> None:
        topic.is_live = False
        for key in topic.all_keys():
            self.scene.history.of(key).is_deleted = True
        self.note(f"deletes {topic.name}")
        await self._submit(DeleteTopic(topic_id=topic.topic_id, now_ms=self.scene.world.hosts[0].clock.now_ms()))

    async def _set_retention(self, topic: TopicModel) -> None:
        for key in topic.all_keys():
            self.scene.history.of(key).has_retention = True
        values = {
            "retention.ms": self.rng.choice(("5000", "60000", "-1")),
            "retention.bytes": self.rng.choice(("2000", "-1")),
        }
        self.note(f"retention of {topic.name} {values}")
        await self._submit(SetConfigs(resource_type=ResourceType.TOPIC, resource_name=topic.name, upserts=values))

    async def _delete_records(self, key: Key) -> None:
        process = await self.scene.world.leader(key)
        history = self.scene.history.of(key)
        try:
            offset = await process.call(partial(self._advance, process, key), _CALL_TIMEOUT_S)
        except (Gone, TimeoutError, *TRY_AGAIN):
            return
        except ClientFault as fault:
            self.scene.check_fault("DeleteRecords", key, fault)
            return
        self.note(f"deleted records of {key[0].int}-{key[1]} below {offset}")
        history.start_offset = max(history.start_offset, offset)

    async def _advance(self, process: BrokerProcess, key: Key) -> int:
        partition = find(process, key)
        log = partition.log
        history = self.scene.history.of(key)
        low, high = log.start_offset, log.high_watermark
        offset = high if self.rng.random() < 0.3 else self.rng.randint(low, high)
        history.start_requested = max(history.start_requested, offset)
        await process.running.engine.advance_start(partition, Offset(offset))
        return offset

    async def _submit(self, command: Command[object]) -> bool:
        """Until it is known to be done; False when the scene ended before."""
        while not self.scene.is_ending:
            process = await self.scene.world.serving()
            try:
                await process.call(partial(process.control.submit, command), _CALL_TIMEOUT_S)
            except (Gone, TimeoutError, *TRY_AGAIN):
                await asyncio.sleep(0.2)
            except ClientFault as fault:
                if fault.code in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID):
                    return True  # a repeat of a deletion
                if fault.code != ErrorCode.INVALID_REPLICATION_FACTOR:
                    raise Violation(f"{command} was refused: {fault}") from fault
                await asyncio.sleep(0.2)  # no broker is there to lead it: all are fenced
            else:
                return True
        return False

    @property
    def _partitions_max(self) -> int:
        return self.scene.world.options.work.partitions_max


class Committer(Client):
    """Commits a growing position of one group, in a topic that surely lives on, and reads it back (I13)."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self._asked = 0
        self._known = -1

    async def round(self) -> None:
        """A commit, then a fetch."""
        self._asked += 1
        offset = OffsetToCommit(GROUPS_TOPIC, 0, self._asked)
        commit = CommitRequest(group_id=self.name, offsets=(offset,))
        _, answer = await self._ask(lambda process: process.groups.commit(commit, _same))
        if isinstance(answer, CommitAnswer) and answer.error is ErrorCode.NONE:
            self._known = self._asked
            self.note(f"committed {self._asked}")
        await self.look()

    async def look(self) -> bool:
        """The position must be one that was asked for and not below one that was acknowledged."""
        fetch = FetchRequest(group_id=self.name, topics=(TopicToFetch(GROUPS_TOPIC, (0,)),))
        is_current, answer = await self._ask(lambda process: process.groups.fetch(fetch, _same))
        if not is_current or not isinstance(answer, FetchAnswer) or answer.error is not ErrorCode.NONE:
            return False
        committed = answer.topics[0].partitions[0][1]
        found = -1 if committed is None else committed.offset
        if not self._known <= found <= self._asked:
            raise Violation(f"I13: group {self.name} committed {self._known}, asked for {self._asked}, found {found}")
        self._known = found
        return True

    async def _ask(self, request: object) -> tuple[bool, object]:
        """The answer, and whether nobody can know more than who gave it."""
        key = (GROUPS_TOPIC_ID, partition_for(self.name, GROUPS_PARTITIONS))
        process = await self.scene.world.leader(key)
        is_current = self.scene.world.is_current(process, key)

        async def inside() -> object:
            answer = request(process)  # type: ignore[operator]
            return await answer if isinstance(answer, asyncio.Future) else answer

        try:
            return is_current, await process.call(inside, _CALL_TIMEOUT_S)
        except (Gone, TimeoutError, ClientFault):
            return False, None


def _same(answer: object) -> object:
    return answer


__all__ = ["Admin", "Committer"]
