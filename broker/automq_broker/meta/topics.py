"""Topics, partitions and configs: Kafka's rules that hold for the whole cluster.

Source: Kafka's Topic.validate and hasCollision, ReplicationControlManager (creation, deletion, growth),
ConfigurationControlManager; messages follow theirs, since tools and people know them.
"""

import re
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from automq_broker.cluster.placement import Candidate, place
from automq_broker.kernel.errors import ClientFault, NotMine
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta import topic_configs
from automq_broker.meta.commands import (
    AssignStreams,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    SetConfigs,
    TopicCreated,
)
from automq_broker.meta.decision import Decision
from automq_broker.meta.records import (
    ConfigsChanged,
    PartitionsAdded,
    Record,
    StreamsAssigned,
    TopicAdded,
    TopicRemoved,
)
from automq_broker.meta.rows import NodeStatus, PartitionRow, ResourceType, TopicRow
from automq_broker.meta.tables import Topic
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.meta.state import State

NAME_LENGTH_MAX: Final = 249
PARTITIONS_MAX: Final = 10_000
"""New partitions in one command; Kafka refuses larger batches too (ReplicationControlManager)."""

CORDON_CONFIG: Final = "cordoned.log.dirs"
"""Kafka's own mark of a broker that gets no new partitions (KIP-1066); here it is all or nothing."""

_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]+")


def check_name(name: str) -> None:
    """Raise ClientFault(INVALID_TOPIC_EXCEPTION) unless Kafka accepts `name` for a topic."""
    if not name:
        reason = "Topic name is invalid: the empty string is not allowed"
    elif name in (".", ".."):
        reason = "Topic name is invalid: '.' or '..' is not allowed"
    elif len(name) > NAME_LENGTH_MAX:
        reason = (
            f"Topic name is invalid: the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}"
        )
    elif not _LEGAL_NAME.fullmatch(name):
        reason = (
            f"Topic name is invalid: '{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    else:
        return
    raise ClientFault(ErrorCode.INVALID_TOPIC_EXCEPTION, reason)


def collision_key(name: str) -> str | None:
    """What two names must not share: metrics turn '.' into '_'. None for names with neither."""
    return name.replace(".", "_") if "." in name or "_" in name else None


def create(state: "State", command: CreateTopic) -> Decision[TopicCreated]:
    """Create a topic, spread its partitions over the nodes that live, and allocate its streams."""
    check_name(command.name)
    existing = state.topics_by_id.get(command.topic_id)
    if existing is not None and existing.name == command.name:
        return Decision((), TopicCreated(topic=state.topic_row(existing)))
    if existing is not None or command.topic_id.int == 0:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"Topic id {command.topic_id} is taken.")
    if command.name in state.topic_ids:
        raise ClientFault(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{command.name}' already exists.")
    key = collision_key(command.name)
    if key is not None and key in state.collisions:
        other = state.topics_by_id[state.collisions[key]].name
        raise ClientFault(
            ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{command.name}' collides with existing topic: {other}"
        )
    if command.partitions <= 0:
        raise ClientFault(
            ErrorCode.INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value."
        )
    _check_batch(command.partitions)
    if command.replication_factor < 1 and command.replication_factor != -1:
        raise ClientFault(
            ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0, or -1 for the default."
        )
    topic_configs.validate(command.configs)
    return _created(state, command)


def _created(state: "State", command: CreateTopic) -> Decision[TopicCreated]:
    owners = _owners(state, command.partitions, command.owners, command.topic_id)
    added = TopicAdded(
        first_stream_id=state.next_stream_id,
        created_ms=command.created_ms,
        is_internal=command.is_internal,
        topic_id=command.topic_id,
        name=command.name,
        owners=owners,
    )
    records: list[Record] = [added]
    if command.configs:
        records.append(
            ConfigsChanged(
                resource_type=ResourceType.TOPIC, resource_name=command.name, upserts=_flat(command.configs), deletes=()
            )
        )
    row = TopicRow(
        topic_id=command.topic_id,
        name=command.name,
        is_internal=command.is_internal,
        created_ms=command.created_ms,
        partitions=_partition_rows(0, state.next_stream_id, owners),
        configs=dict(command.configs),
    )
    return Decision(tuple(records), TopicCreated(topic=row))


def delete(state: "State", command: DeleteTopic) -> Decision[None]:
    """Remove a topic by id; the same name may be created again at once and gets a new id and new streams."""
    if command.topic_id not in state.topics_by_id:
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_ID, f"No topic has the id {command.topic_id}.")
    return Decision((TopicRemoved(since_ms=command.now_ms, topic_id=command.topic_id),), None)


def grow(state: "State", command: CreatePartitions) -> Decision[TopicCreated]:
    """More partitions; never fewer, never the same number."""
    topic = state.topics_by_id.get(command.topic_id)
    if topic is None:
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_ID, f"No topic has the id {command.topic_id}.")
    count = len(topic.streams)
    if command.total == count:
        raise ClientFault(ErrorCode.INVALID_PARTITIONS, f"Topic already has {count} partition(s).")
    if command.total < count:
        raise ClientFault(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {count} partition(s); {command.total} would not be an increase.",
        )
    _check_batch(command.total - count)
    owners = _owners(state, command.total - count, command.owners, command.topic_id, topic)
    record = PartitionsAdded(first_stream_id=state.next_stream_id, topic_id=topic.topic_id, owners=owners)
    before = state.topic_row(topic)
    row = TopicRow(
        topic_id=before.topic_id,
        name=before.name,
        is_internal=before.is_internal,
        created_ms=before.created_ms,
        partitions=before.partitions + _partition_rows(count, state.next_stream_id, owners),
        configs=before.configs,
    )
    return Decision((record,), TopicCreated(topic=row))


def set_configs(state: "State", command: SetConfigs) -> Decision[None]:
    """Change configs; a topic's values are judged together with those that stay."""
    try:
        kind = ResourceType(command.resource_type)
    except ValueError:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"Resource type {command.resource_type} has no configs.") from None
    present = state.configs(kind, command.resource_name)
    if kind is ResourceType.TOPIC:
        if command.resource_name not in state.topic_ids:
            raise ClientFault(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{command.resource_name}' does not exist."
            )
        kept = {name: value for name, value in present.items() if name not in command.deletes}
        topic_configs.validate({**kept, **command.upserts}, only=command.upserts)
    upserts = {name: value for name, value in command.upserts.items() if present.get(name) != value}
    deletes = tuple(name for name in command.deletes if name in present and name not in command.upserts)
    if not upserts and not deletes:
        return Decision((), None)
    record = ConfigsChanged(
        resource_type=kind, resource_name=command.resource_name, upserts=_flat(upserts), deletes=deletes
    )
    return Decision((record,), None)


def assign(state: "State", command: AssignStreams) -> Decision[None]:
    """Choose the owner of streams; it opens them once they are closed."""
    node = state.nodes.get(command.node_id)
    if node is None or node.status in (NodeStatus.STOPPED, NodeStatus.RESCUING):
        raise NotMine(f"node {command.node_id} cannot own streams: {'unknown' if node is None else node.status.name}")
    moved = array("q")
    for stream_id in command.stream_ids:
        stream = state.streams.get(stream_id)
        if stream is None:
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Stream {stream_id} does not exist.")
        if stream.assigned != command.node_id:
            moved.append(stream_id)
    return Decision((StreamsAssigned(node_id=command.node_id, stream_ids=moved),) if moved else (), None)


def _choose_owners(state: "State", count: int, topic_id: UUID, topic: Topic | None = None) -> "array[int]":
    """Nodes for `count` new partitions, by `cluster.placement`: the ACTIVE ones, else those that are starting.

    A cordoned node (KIP-1066) gets one only if no other could. `topic` is the one that grows, if it exists.
    Raises ClientFault(INVALID_REPLICATION_FACTOR), Kafka's answer when no broker could hold a replica.
    """
    own = Counter(state.streams[stream_id].assigned for stream_id in topic.streams) if topic else Counter()
    for status in (NodeStatus.ACTIVE, NodeStatus.RECOVERING):
        usable = [node_id for node_id, node in sorted(state.nodes.items()) if node.status is status]
        open_to_new = [node_id for node_id in usable if not is_cordoned(state, node_id)]
        candidates = [
            Candidate(
                node_id=node_id,
                rack=state.nodes[node_id].rack,
                load=state.partition_counts.get(node_id, 0),
                of_topic=own[node_id],
            )
            for node_id in open_to_new or usable
        ]
        if candidates:
            return array("q", place(count, candidates, topic_id))
    raise ClientFault(
        ErrorCode.INVALID_REPLICATION_FACTOR,
        "Unable to replicate the partition 1 time(s): All brokers are currently fenced.",
    )


def _owners(
    state: "State", count: int, given: tuple[NodeId, ...], topic_id: UUID, topic: Topic | None = None
) -> "array[int]":
    """The owners that somebody chose, or a choice of ours."""
    if not given:
        return _choose_owners(state, count, topic_id, topic)
    if len(given) != count:
        raise ClientFault(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"{len(given)} owners for {count} new partitions.")
    unknown = sorted({int(node_id) for node_id in given if node_id not in state.nodes})
    if unknown:
        raise ClientFault(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"No such brokers: {unknown}.")
    return array("q", given)


def is_cordoned(state: "State", node_id: int) -> bool:
    """Whether the node is being drained and gets no new partitions."""
    return bool(state.configs(ResourceType.BROKER, str(node_id)).get(CORDON_CONFIG))


def partition_rows(state: "State", topic: Topic) -> tuple[PartitionRow, ...]:
    """The partitions of a topic with their present owners."""
    return tuple(
        PartitionRow(index=index, stream_id=StreamId(stream_id), owner=NodeId(state.streams[stream_id].assigned))
        for index, stream_id in enumerate(topic.streams)
    )


def _partition_rows(first_index: int, first_stream_id: int, owners: "array[int]") -> tuple[PartitionRow, ...]:
    return tuple(
        PartitionRow(index=first_index + each, stream_id=StreamId(first_stream_id + each), owner=NodeId(owner))
        for each, owner in enumerate(owners)
    )


def _check_batch(count: int) -> None:
    if count > PARTITIONS_MAX:
        raise ClientFault(
            ErrorCode.POLICY_VIOLATION, f"At most {PARTITIONS_MAX} partitions can be created at once, not {count}."
        )


def _flat(pairs: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(part for name in sorted(pairs) for part in (name, pairs[name]))


__all__ = [
    "CORDON_CONFIG",
    "assign",
    "check_name",
    "collision_key",
    "create",
    "delete",
    "grow",
    "is_cordoned",
    "partition_rows",
    "set_configs",
]
