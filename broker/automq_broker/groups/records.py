"""Records of `__consumer_offsets` as bytes, in Kafka's own schemas, so that Kafka's tools can read the topic.

A key starts with an int16 that names the record's type, a value with an int16 that names its version. Types of other
group protocols (KIP-848, share and streams groups) are left alone: this version neither writes nor understands them.
"""

import struct

from automq_broker.groups.written import (
    NO_TOPIC_ID,
    CommittedOffset,
    GroupRecord,
    GroupValue,
    MemberValue,
    OffsetRecord,
    Record,
)
from automq_broker.kernel.errors import Corrupt
from automq_broker.wire import codec
from automq_broker.wire.apis.records_group_metadata import GroupMetadataKey, GroupMetadataValue, MemberMetadata
from automq_broker.wire.apis.records_offset_commit import OffsetCommitKey, OffsetCommitValue
from automq_broker.wire.primitives import WireError

_INT16 = struct.Struct(">h")
_LEGACY_OFFSET_KEY = 0
_OFFSET_KEY = 1
_GROUP_KEY = 2
_KEY_SCHEMA_VERSION = 0

_OFFSET_VALUE_VERSION_EXPIRING = 1
"""The only version that keeps an explicit expiry (from OffsetCommit v2-4)."""
_OFFSET_VALUE_VERSION_PLAIN = 3
"""The newest version that every Kafka since 2.1 reads."""
_OFFSET_VALUE_VERSION_WITH_ID = 4
_GROUP_VALUE_VERSION = 3


def encode(record: Record) -> tuple[bytes, bytes | None]:
    """Key and value of a record; value None is a tombstone. Raises WireError for a string that is too long."""
    match record:
        case OffsetRecord(group_id, topic, partition, offset):
            key = OffsetCommitKey(group=group_id, topic=topic, partition=partition)
            return _tagged(_OFFSET_KEY, key, _KEY_SCHEMA_VERSION), None if offset is None else _encode_offset(offset)
        case GroupRecord(group_id, group):
            group_key = _tagged(_GROUP_KEY, GroupMetadataKey(group=group_id), _KEY_SCHEMA_VERSION)
            return group_key, None if group is None else _encode_group(group)


def decode(key: bytes | memoryview | None, value: bytes | memoryview | None) -> Record | None:
    """The record, or None for a type that this version does not keep. Raises Corrupt for bytes that are neither."""
    if key is None:
        return None
    try:
        (type_,) = _INT16.unpack_from(key)
        if type_ in (_OFFSET_KEY, _LEGACY_OFFSET_KEY):
            return _decode_offset(memoryview(key), value)
        if type_ == _GROUP_KEY:
            name = codec.decode(GroupMetadataKey, _KEY_SCHEMA_VERSION, memoryview(key), 2).group
            return GroupRecord(name, None if value is None else _decode_group(memoryview(value)))
    except (struct.error, WireError) as error:
        raise Corrupt(f"a record of __consumer_offsets does not parse: {error}") from error
    return None


def _tagged(
    tag: int, message: OffsetCommitKey | GroupMetadataKey | OffsetCommitValue | GroupMetadataValue, v: int
) -> bytes:
    return _INT16.pack(tag) + codec.encode(message, v)


def _encode_offset(offset: CommittedOffset) -> bytes:
    if offset.expire_ms >= 0:
        version = _OFFSET_VALUE_VERSION_EXPIRING
    elif offset.topic_id != NO_TOPIC_ID:
        version = _OFFSET_VALUE_VERSION_WITH_ID
    else:
        version = _OFFSET_VALUE_VERSION_PLAIN
    message = OffsetCommitValue(
        offset=offset.offset,
        leader_epoch=offset.leader_epoch,
        metadata=offset.metadata,
        commit_timestamp=offset.commit_ms,
        expire_timestamp=offset.expire_ms,
        topic_id=offset.topic_id,
    )
    return _tagged(version, message, version)


def _decode_offset(key: memoryview, value: bytes | memoryview | None) -> OffsetRecord:
    name = codec.decode(OffsetCommitKey, _KEY_SCHEMA_VERSION, key, 2)
    if value is None:
        return OffsetRecord(name.group, name.topic, name.partition, None)
    (version,) = _INT16.unpack_from(value)
    message = codec.decode(OffsetCommitValue, _known(version, OffsetCommitValue.__name__), memoryview(value), 2)
    offset = CommittedOffset(
        message.offset,
        message.leader_epoch,
        message.metadata,
        message.commit_timestamp,
        message.expire_timestamp,
        message.topic_id,
    )
    return OffsetRecord(name.group, name.topic, name.partition, offset)


def _encode_group(group: GroupValue) -> bytes:
    members = [
        MemberMetadata(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            rebalance_timeout=member.rebalance_timeout_ms,
            session_timeout=member.session_timeout_ms,
            subscription=member.subscription,
            assignment=member.assignment,
        )
        for member in group.members
    ]
    message = GroupMetadataValue(
        protocol_type=group.protocol_type,
        generation=group.generation,
        protocol=group.protocol_name,
        leader=group.leader,
        current_state_timestamp=group.state_ms,
        members=members,
    )
    return _tagged(_GROUP_VALUE_VERSION, message, _GROUP_VALUE_VERSION)


def _decode_group(value: memoryview) -> GroupValue:
    (version,) = _INT16.unpack_from(value)
    message = codec.decode(GroupMetadataValue, _known(version, GroupMetadataValue.__name__), value, 2)
    members = tuple(
        MemberValue(
            member_id=member.member_id,
            instance_id=member.group_instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            rebalance_timeout_ms=member.session_timeout if member.rebalance_timeout < 0 else member.rebalance_timeout,
            session_timeout_ms=member.session_timeout,
            subscription=bytes(member.subscription),
            assignment=bytes(member.assignment),
        )
        for member in message.members
    )
    return GroupValue(
        protocol_type=message.protocol_type,
        generation=message.generation,
        protocol_name=message.protocol,
        leader=message.leader,
        state_ms=message.current_state_timestamp,
        members=members,
    )


def _known(version: int, name: str) -> int:
    if not 0 <= version <= 4:
        raise Corrupt(f"{name} of version {version} was written by a newer version of this program")
    return version


__all__ = ["decode", "encode"]
