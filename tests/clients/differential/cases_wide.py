"""What careless and hostile clients send: the same thing twice, negative numbers, null for empty, nothing at all."""

import struct
from typing import Any
from uuid import UUID

from automq_broker.wire.apis.k00_produce import PartitionProduceData, ProduceRequest, TopicProduceData
from automq_broker.wire.apis.k01_fetch import FetchPartition, FetchRequest, FetchTopic
from automq_broker.wire.apis.k02_list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic
from automq_broker.wire.apis.k08_offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from automq_broker.wire.apis.k09_offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from automq_broker.wire.apis.k10_find_coordinator import FindCoordinatorRequest
from automq_broker.wire.apis.k15_describe_groups import DescribeGroupsRequest
from automq_broker.wire.apis.k19_create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from automq_broker.wire.apis.k20_delete_topics import DeleteTopicsRequest, DeleteTopicState
from automq_broker.wire.apis.k21_delete_records import DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic
from automq_broker.wire.apis.k22_init_producer_id import InitProducerIdRequest
from automq_broker.wire.apis.k23_offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from automq_broker.wire.apis.k32_describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from automq_broker.wire.apis.k33_alter_configs import AlterableConfig, AlterConfigsRequest, AlterConfigsResource
from automq_broker.wire.apis.k35_describe_log_dirs import DescribeLogDirsRequest
from automq_broker.wire.apis.k37_create_partitions import CreatePartitionsRequest, CreatePartitionsTopic
from automq_broker.wire.apis.k42_delete_groups import DeleteGroupsRequest
from automq_broker.wire.apis.k44_incremental_alter_configs import (
    AlterableConfig as IncrementalConfig,
)
from automq_broker.wire.apis.k44_incremental_alter_configs import (
    AlterConfigsResource as IncrementalResource,
)
from automq_broker.wire.apis.k44_incremental_alter_configs import IncrementalAlterConfigsRequest
from automq_broker.wire.apis.k47_offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from automq_broker.wire.apis.k61_describe_producers import DescribeProducersRequest, TopicRequest
from automq_broker.wire.apis.k75_describe_topic_partitions import DescribeTopicPartitionsRequest
from automq_broker.wire.apis.k75_describe_topic_partitions import TopicRequest as PartitionsTopic
from automq_broker.wire.batches import iter_headers
from automq_broker.wire.records import Record, decode_records, encode_batch, stamp_crc
from clients.differential.world import BASE_TIME_MS, Ask, Steps, World, batch, case

PRODUCE, FETCH, LIST_OFFSETS, METADATA, COMMIT, OFFSET_FETCH, FIND = 0, 1, 2, 3, 8, 9, 10
DESCRIBE_GROUPS, CREATE, DELETE, DELETE_RECORDS, INIT, EPOCH_END = 15, 19, 20, 21, 22, 23
DESCRIBE_CONFIGS, ALTER, LOG_DIRS, GROW, DELETE_GROUPS, INCREMENTAL = 32, 33, 35, 37, 42, 44
OFFSET_DELETE, DESCRIBE_PRODUCERS, TOPIC_PARTITIONS = 47, 61, 75


def _patched(data: bytes, position: int, value: bytes, *, is_sound: bool = True) -> bytes:
    changed = bytearray(data)
    changed[position : position + len(value)] = value
    if is_sound:
        stamp_crc(changed)
    return bytes(changed)


def _produced(world: World, version: int, topic: str, *fields: Any, **given: Any) -> ProduceRequest:
    rows = [PartitionProduceData(index=0, records=data) for data in fields]
    named = TopicProduceData(name=topic, partition_data=rows)
    if version >= 13:
        named = TopicProduceData(topic_id=world.topic_id(topic), partition_data=rows)
    return ProduceRequest(topic_data=[named], **{"acks": -1, "timeout_ms": 5000, **given})


def _stored(world: World, topic: str) -> Ask:
    """What a consumer sees: headers and records, whatever the bytes of a codec are."""

    def view(answer: Any) -> Any:
        (row,) = answer.responses[0].partitions
        data = memoryview(bytes(row.records))
        return [
            (header.base_offset, header.attributes, header.records_count, header.base_sequence, header.max_timestamp)
            if not header.is_log_append_time
            else (header.base_offset, header.attributes, header.records_count)
            for _, header in iter_headers(data)
        ] + [
            (record.offset, record.key, record.value, 0 if header.is_log_append_time else record.timestamp)
            for position, header in iter_headers(data)
            for record in decode_records(
                data[position : position + header.size_bytes], limit_bytes=1 << 24, limit_ratio=1000
            )
        ]

    partitions = [FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)]
    topics = [FetchTopic(topic=topic, partitions=partitions)]
    message = FetchRequest(replica_id=-1, max_bytes=1 << 20, session_epoch=-1, topics=topics)
    return Ask(message=message, version=12, view=view)


@case(PRODUCE, only=(3, 9, 13))
def compression_type_recompresses(world: World, version: int) -> Steps:
    for name in ("uncompressed", "gzip", "snappy", "lz4", "zstd"):
        topic = world.topic(name, configs={"compression.type": name})
        for codec in (0, 1, 2, 3) if version < 7 else (0, 1, 2, 3, 4):
            yield _produced(world, version, topic, batch(3, compression=codec, size=300))
        yield _stored(world, topic)


@case(PRODUCE, only=(9,))
def recompressed_batches_keep_sequence_time_and_limits(world: World, version: int) -> Steps:
    late = world.topic(configs={"compression.type": "gzip", "message.timestamp.type": "LogAppendTime"})
    yield _produced(world, version, late, batch(3, producer_id=-1))
    yield _stored(world, late)
    small = world.topic("small", configs={"compression.type": "uncompressed", "max.message.bytes": "1000"})
    yield _produced(world, version, small, batch(2, compression=1, size=5000))
    compacted = world.topic("both", configs={"compression.type": "zstd", "cleanup.policy": "compact"})
    keyless = encode_batch([Record(timestamp=BASE_TIME_MS, value=b"v")], compression=1)
    yield _produced(world, version, compacted, keyless)
    yield _produced(world, version, compacted, batch(2, compression=2))
    yield _stored(world, compacted)


@case(PRODUCE, only=(3, 9, 13))
def append_time_claimed_by_a_client_is_corrected(world: World, version: int) -> Steps:
    topic = world.topic()
    yield _produced(world, version, topic, batch(2, timestamp_type=1))
    yield _produced(world, version, topic, batch(2, timestamp_type=1, compression=1))
    yield _stored(world, topic)


@case(PRODUCE, only=(3, 9, 13))
def of_two_faults_one_is_named(world: World, version: int) -> Steps:
    topic, good = world.topic(configs={"max.message.bytes": "2000", "cleanup.policy": "compact"}), batch(2)
    big = batch(1, size=3000)
    faulty = (
        _patched(good, 0, struct.pack(">q", 5), is_sound=False)[:-1] + b"x",  # base offset and checksum
        big[:-1] + b"x",  # size and checksum
        _patched(big, 0, struct.pack(">q", 5)),  # base offset and size
        _patched(good, 57, struct.pack(">i", 9))[:-1] + b"x",  # count and checksum
        _patched(good, 21, struct.pack(">h", 0x25)),  # codec and control
        good[:16] + b"\1" + good[17:-1] + b"x",
    )
    for data in faulty:
        yield _produced(world, version, topic, data)


@case(PRODUCE, only=(3, 9, 13))
def counts_that_cannot_be_are_refused(world: World, version: int) -> Steps:
    topic = world.topic()
    for count in (1000, 2**31 - 1):
        yield _produced(
            world,
            version,
            topic,
            _patched(_patched(batch(2), 57, struct.pack(">i", count)), 23, struct.pack(">i", count - 1)),
        )


@case(PRODUCE, only=(3, 6, 7))
def zstd_came_with_version_7(world: World, version: int) -> Steps:
    yield _produced(world, version, world.topic(), batch(2, compression=4))


@case(PRODUCE, only=(3, 9))
def transactional_batches_need_their_id(world: World, version: int) -> Steps:
    data = batch(2, producer_id=4000, producer_epoch=0, base_sequence=0, is_transactional=True)
    yield _produced(world, version, world.topic(), data)


@case(PRODUCE, only=(3, 9, 13))
def null_records_and_odd_timeouts(world: World, version: int) -> Steps:
    topic = world.topic()
    yield _produced(world, version, topic, batch(1), timeout_ms=-1)
    yield _produced(world, version, topic, batch(1), timeout_ms=0, acks=1)
    rows: list[PartitionProduceData] = []
    named = TopicProduceData(name=topic, partition_data=rows)
    if version >= 13:
        named = TopicProduceData(topic_id=world.topic_id(topic), partition_data=rows)
    yield ProduceRequest(acks=-1, timeout_ms=1000, topic_data=[named])


def _fetch(world: World, version: int, *topics: tuple[str, tuple[int, ...]], **given: Any) -> FetchRequest:
    rows = []
    for name, indexes in topics:
        partitions = [FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1 << 20) for index in indexes]
        named = {"topic_id": world.topic_id(name)} if version >= 13 else {"topic": name}
        rows.append(FetchTopic(partitions=partitions, **named))
    fields = {"max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1 << 20, "session_epoch": -1, **given}
    return FetchRequest(replica_id=-1, topics=rows, **fields)


@case(FETCH, only=(4, 12, 18))
def odd_fetches(world: World, version: int) -> Steps:
    topic = world.seeded()
    yield _fetch(world, version)
    yield _fetch(world, version, (topic, ()))
    yield _fetch(world, version, (topic, (-1,)))
    yield _fetch(world, version, (topic, (0,)), max_wait_ms=-1, min_bytes=-1)
    yield _fetch(world, version, (topic, (0, 1, 7)))


@case(FETCH, only=(4, 12, 18))
def a_negative_limit(world: World, version: int) -> Steps:
    yield _fetch(world, version, (world.seeded(), (0,)), max_bytes=-1)


@case(LIST_OFFSETS, only=(1, 6, 11))
def odd_lists_of_offsets(world: World, version: int) -> Steps:
    def asked(*topics: tuple[str, tuple[int, ...]], **given: Any) -> ListOffsetsRequest:
        rows = [
            ListOffsetsTopic(
                name=name, partitions=[ListOffsetsPartition(partition_index=index, timestamp=-1) for index in indexes]
            )
            for name, indexes in topics
        ]
        return ListOffsetsRequest(replica_id=-1, topics=rows, **given)

    def view(answer: Any) -> Any:  # refused ones come first in Kafka, by their hash
        return sorted(
            (topic.name, row.partition_index, row.error_code, row.offset)
            for topic in answer.topics
            for row in topic.partitions
        )

    topic = world.seeded()
    yield asked()
    yield asked((topic, ()))
    yield Ask(message=asked((topic, (-1,)), ("has space", (0,))), view=view)
    yield Ask(message=asked((topic, (0, 1, 0, 9))), view=view)


@case(METADATA, only=(1, 9, 13))
def topics_named_twice(world: World, version: int) -> Steps:
    topics = [MetadataRequestTopic(name=name) for name in (world.seeded(), world.seeded(), world.empty_topic())]

    def view(answer: Any) -> Any:
        return sorted((row.name, row.error_code) for row in answer.topics)

    yield Ask(message=MetadataRequest(topics=topics, allow_auto_topic_creation=False), view=view)


@case(METADATA, only=(12, 13))
def odd_ids(world: World, version: int) -> Steps:
    for topics in (
        [MetadataRequestTopic(name=None, topic_id=UUID(int=5)), MetadataRequestTopic(name=None, topic_id=UUID(int=6))],
        [MetadataRequestTopic(name=None, topic_id=UUID(int=5)), MetadataRequestTopic(name=world.seeded())],
    ):
        yield MetadataRequest(topics=topics, allow_auto_topic_creation=False)


@case(METADATA, only=(12, 13))
def neither_a_name_nor_an_id(world: World, version: int) -> Steps:
    topics = [MetadataRequestTopic(name=None, topic_id=UUID(int=0))]
    yield MetadataRequest(topics=topics, allow_auto_topic_creation=False)


@case(COMMIT, only=(2, 5, 9))
def odd_commits(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()

    def asked(*rows: tuple[int, int], **given: Any) -> OffsetCommitRequest:
        partitions = [
            OffsetCommitRequestPartition(partition_index=index, committed_offset=offset) for index, offset in rows
        ]
        topics = [OffsetCommitRequestTopic(name=topic, partitions=partitions)]
        return OffsetCommitRequest(group_id=group, generation_id_or_member_epoch=-1, topics=topics, **given)

    yield asked()
    yield asked((0, -1), (1, -5))
    yield asked((-1, 5))
    yield asked((0, 5), (0, 6))
    yield asked((0, 7), retention_time_ms=2**63 - 1)
    yield asked((1, 8), retention_time_ms=-5)
    rows = [OffsetFetchRequestTopic(name=topic, partition_indexes=[0, 1, 0, -1])]
    yield Ask(message=OffsetFetchRequest(group_id=group, topics=rows), version=7)


@case(OFFSET_FETCH, only=(2, 7, 8, 9))
def odd_fetches_of_offsets(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()
    if version < 8:
        yield OffsetFetchRequest(group_id=group, topics=[])
        yield OffsetFetchRequest(group_id="", topics=None)
        yield OffsetFetchRequest(group_id=group, topics=[OffsetFetchRequestTopic(name=topic, partition_indexes=[])])
        return
    yield OffsetFetchRequest(groups=[])
    yield OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group, topics=[])])
    yield OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="", topics=None)])
    rows = [OffsetFetchRequestTopics(name=topic, partition_indexes=[-1, 3])]
    yield OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group, topics=rows)])


@case(FIND, only=(0, 3, 4, 6))
def odd_searches_for_coordinators(world: World, version: int) -> Steps:
    group = world.group()
    if version < 4:
        yield FindCoordinatorRequest(key="", key_type=0)
        return
    for keys in ([], [group, group], ["x" * 1000]):
        yield FindCoordinatorRequest(key_type=0, coordinator_keys=keys)


@case(DESCRIBE_GROUPS, only=(0, 3, 6))
def groups_described_twice(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        return sorted((row.group_id, row.error_code, row.group_state) for row in answer.groups)

    names = [world.name("a"), world.name("b"), world.name("a")]
    yield Ask(message=DescribeGroupsRequest(groups=names), view=view)


@case(DELETE_GROUPS, only=(0, 2))
def odd_deletions_of_groups(world: World, version: int) -> Steps:
    yield DeleteGroupsRequest(groups_names=[])
    yield DeleteGroupsRequest(groups_names=[world.name("never"), world.name("never")])


@case(OFFSET_DELETE)
def odd_deletions_of_offsets(world: World, version: int) -> Steps:
    yield OffsetDeleteRequest(group_id=world.group(), topics=[])
    yield OffsetDeleteRequest(group_id="", topics=[])
    row = OffsetDeleteRequestTopic(name="nobody-made-this", partitions=[OffsetDeleteRequestPartition()])
    yield OffsetDeleteRequest(group_id=world.group("other"), topics=[row])


def _by_name(answer: Any) -> Any:
    rows = {}
    for row in answer.topics:
        fields = {entry[0]: getattr(row, entry[0]) for entry in type(row).SCHEMA.fields}
        rows[row.name] = {**fields, "configs": {config.name: config for config in row.configs or []}}
    return rows


@case(CREATE, only=(2, 5, 7))
def odd_creations(world: World, version: int) -> Steps:
    def asked(*topics: CreatableTopic, **given: Any) -> Ask:
        request = CreateTopicsRequest(topics=list(topics), **{"timeout_ms": 5000, **given})
        return Ask(message=request, view=_by_name)

    def topic(stem: str, count: int = 1, **configs: str | None) -> CreatableTopic:
        given = [CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()]
        return CreatableTopic(name=world.name(stem), num_partitions=count, replication_factor=1, configs=given)

    doubled = topic("doubled", retention_ms="1")
    doubled.configs = [*doubled.configs, CreatableTopicConfig(name="retention.ms", value="2")]
    yield asked(doubled)
    yield asked(topic("ok"), topic("bad", retention_ms="soon"), topic("dry"), validate_only=True)
    yield asked(topic("ok"), topic("bad", -7), topic("dry"))
    yield asked(topic("ok"), validate_only=True)
    yield asked(topic("empty-policy", cleanup_policy=""))
    yield asked(topic("spaces", cleanup_policy=" compact , delete "))
    yield asked(topic("padded", retention_ms=" 1000 "))


@case(DELETE, only=(1, 4, 6))
def odd_deletions(world: World, version: int) -> Steps:
    def asked(*names: str | None) -> DeleteTopicsRequest:
        if version >= 6:
            return DeleteTopicsRequest(topics=[DeleteTopicState(name=name) for name in names], timeout_ms=5000)
        return DeleteTopicsRequest(topic_names=[name or "" for name in names], timeout_ms=5000)

    yield asked()
    for name in ("", "has space", "x" * 300):
        yield asked(name)
    yield asked("nobody-made-this", "nobody-made-this")


@case(GROW, only=(0, 1, 3))
def odd_growth(world: World, version: int) -> Steps:
    def asked(name: str, count: int, *, is_dry: bool = False) -> CreatePartitionsRequest:
        rows = [CreatePartitionsTopic(name=name, count=count, assignments=None)]
        return CreatePartitionsRequest(topics=rows, timeout_ms=5000, validate_only=is_dry)

    yield CreatePartitionsRequest(topics=[], timeout_ms=5000)
    yield asked(world.seeded(), 1, is_dry=True)
    yield asked("has space", 3)
    yield asked("", 3, is_dry=True)


@case(DELETE_RECORDS, only=(0, 2))
def odd_deletions_of_records(world: World, version: int) -> Steps:
    def asked(*rows: tuple[int, int]) -> DeleteRecordsRequest:
        partitions = [DeleteRecordsPartition(partition_index=index, offset=offset) for index, offset in rows]
        return DeleteRecordsRequest(timeout_ms=5000, topics=[DeleteRecordsTopic(name=topic, partitions=partitions)])

    topic = world.topic()
    world.append(topic, batch(4))
    yield DeleteRecordsRequest(timeout_ms=5000, topics=[])
    yield asked()
    yield asked((-1, 0))
    yield asked((0, 2**62))


@case(INIT, least=3)
def an_idempotent_producer_that_comes_again(world: World, version: int) -> Steps:
    answer = yield InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1)
    yield InitProducerIdRequest(
        transactional_id=None, transaction_timeout_ms=1, producer_id=answer.producer_id, producer_epoch=0
    )
    yield InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1, producer_id=77, producer_epoch=-1)


@case(EPOCH_END, only=(2, 4))
def odd_epochs(world: World, version: int) -> Steps:
    def asked(*rows: tuple[int, int]) -> OffsetForLeaderEpochRequest:
        partitions = [OffsetForLeaderPartition(partition=index, leader_epoch=epoch) for index, epoch in rows]
        topics = [OffsetForLeaderTopic(topic=world.seeded(), partitions=partitions)]
        return OffsetForLeaderEpochRequest(replica_id=-1, topics=topics)

    yield asked()
    yield asked((0, 0), (1, 0))
    yield asked((-1, 0))
    yield asked((0, -5))


@case(DESCRIBE_CONFIGS, only=(1, 4))
def odd_descriptions_of_configs(world: World, version: int) -> Steps:
    def asked(*resources: tuple[int, str]) -> Ask:
        rows = [DescribeConfigsResource(resource_type=kind, resource_name=name) for kind, name in resources]
        return Ask(
            message=DescribeConfigsRequest(resources=rows),
            view=lambda answer: [(row.error_code, row.resource_type, row.resource_name) for row in answer.results],
        )

    yield asked()
    yield asked((2, world.seeded()), (2, "nobody-made-this"), (2, ""))
    yield asked((4, ""))
    yield asked((4, "-1"))
    yield asked((0, "x"))


@case(ALTER, only=(0, 2))
def odd_alterations(world: World, version: int) -> Steps:
    topic = world.topic()

    def asked(*resources: tuple[int, str, str, str], is_dry: bool = False) -> AlterConfigsRequest:
        rows = [
            AlterConfigsResource(
                resource_type=kind, resource_name=name, configs=[AlterableConfig(name=key, value=value)]
            )
            for kind, name, key, value in resources
        ]
        return AlterConfigsRequest(resources=rows, validate_only=is_dry)

    yield AlterConfigsRequest(resources=[])
    # Left out: a resource named twice, which Kafka never answers at all.
    yield asked((2, topic, "retention.ms", "soon"), is_dry=True)
    yield asked((2, "", "retention.ms", "5"))
    yield asked((2, "has space", "retention.ms", "5"))
    yield asked((4, "zero", "message.max.bytes", "5000"))


@case(INCREMENTAL, only=(0, 1))
def odd_incremental_alterations(world: World, version: int) -> Steps:
    topic = world.topic()

    def asked(kind: int, name: str, key: str, what: int, value: str | None) -> IncrementalAlterConfigsRequest:
        config = IncrementalConfig(name=key, config_operation=what, value=value)
        rows = [IncrementalResource(resource_type=kind, resource_name=name, configs=[config])]
        return IncrementalAlterConfigsRequest(resources=rows, validate_only=True)

    yield IncrementalAlterConfigsRequest(resources=[])
    yield IncrementalAlterConfigsRequest(
        resources=[IncrementalResource(resource_type=2, resource_name=topic, configs=[])]
    )
    yield asked(2, topic, "retention.ms", 0, "soon")
    yield asked(2, topic, "cleanup.policy", 2, "shred")
    yield asked(2, topic, "", 0, "1")
    yield asked(4, "", "message.max.bytes", 0, "few")
    yield asked(4, "0", "node.id", 0, "5")


@case(LOG_DIRS, only=(1, 5))
def null_is_all_and_empty_is_none(world: World, version: int) -> Steps:
    topic = world.seeded()

    def view(answer: Any) -> Any:
        names = {row.name for found in answer.results for row in found.topics}
        return [answer.error_code, topic in names, len(answer.results)]

    yield Ask(message=DescribeLogDirsRequest(topics=None), view=view)
    yield Ask(message=DescribeLogDirsRequest(topics=[]), view=view)


@case(DESCRIBE_PRODUCERS)
def odd_descriptions_of_producers(world: World, version: int) -> Steps:
    yield DescribeProducersRequest(topics=[])
    yield DescribeProducersRequest(topics=[TopicRequest(name=world.empty_topic(), partition_indexes=[])])
    yield DescribeProducersRequest(topics=[TopicRequest(name=world.empty_topic(), partition_indexes=[0, -1])])
    yield DescribeProducersRequest(topics=[TopicRequest(name="has space", partition_indexes=[0])])


@case(TOPIC_PARTITIONS)
def topics_described_twice(world: World, version: int) -> Steps:
    names = [world.seeded(), world.empty_topic(), world.seeded()]
    yield DescribeTopicPartitionsRequest(topics=[PartitionsTopic(name=name) for name in names])
