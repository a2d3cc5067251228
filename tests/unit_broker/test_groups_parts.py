"""Timers, placement, subscriptions and records, each by itself."""

import struct
import uuid

import pytest
from automq_broker.groups import records
from automq_broker.groups.placement import java_string_hash, partition_for, utf16_length
from automq_broker.groups.subscription import subscribed_topics
from automq_broker.groups.timers import Timers
from automq_broker.groups.written import CommittedOffset, GroupRecord, GroupValue, MemberValue, OffsetRecord
from automq_broker.kernel.errors import Corrupt
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["set", "cancel", "advance"]), st.integers(0, 5), st.integers(0, 50))))
def test_timers_fire_exactly_what_a_plain_table_would(steps: list[tuple[str, int, int]]) -> None:
    timers: Timers[int] = Timers()
    table: dict[int, int] = {}
    now = 0
    for step, key, number in steps:
        if step == "set":
            timers.set(key, now + number)
            table[key] = now + number
        elif step == "cancel":
            timers.cancel(key)
            table.pop(key, None)
        else:
            now += number
            due = {key for key, at in table.items() if at <= now}
            assert set(timers.due(now)) == due
            for fired in due:
                del table[fired]
        deadline = timers.next_deadline()
        if table:
            assert deadline is not None
            assert deadline <= min(table.values())
        assert len(timers) == len(table)


def test_moving_a_deadline_later_costs_no_memory() -> None:
    timers: Timers[str] = Timers()
    for at in range(10_000):
        timers.set("member", 100 + at)
    assert len(timers._heap) == 1
    assert list(timers.due(5000)) == []
    assert list(timers.due(20_000)) == ["member"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("", 0), ("a", 97), ("hello", 99162322), ("polygenelubricants", 0x80000000)],
)
def test_hashes_are_those_of_java(text: str, number: int) -> None:
    assert java_string_hash(text) == number
    assert 0 <= partition_for(text, 50) < 50


def test_characters_outside_the_basic_plane_hash_and_count_as_surrogate_pairs() -> None:
    assert java_string_hash("😀") == (0xD83D * 31 + 0xDE00) & 0xFFFFFFFF
    assert utf16_length("a😀") == 3
    assert partition_for("polygenelubricants", 50) == 0  # Math.abs would have kept Integer.MIN_VALUE negative


def subscription(*topics: str, version: int = 1) -> bytes:
    names = b"".join(struct.pack(">h", len(t.encode())) + t.encode() for t in topics)
    return struct.pack(">hi", version, len(topics)) + names + struct.pack(">i", -1)


def test_topics_are_read_from_subscriptions_of_every_version() -> None:
    for version in range(4):
        assert subscribed_topics(subscription("a", "bé", version=version)) == {"a", "bé"}
    assert subscribed_topics(subscription()) == frozenset()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40))
def test_bytes_that_are_no_subscription_are_unknown_and_harmless(data: bytes) -> None:
    found = subscribed_topics(data)
    assert found is None or isinstance(found, frozenset)


def test_a_subscription_that_claims_more_topics_than_it_has_bytes_is_unknown() -> None:
    assert subscribed_topics(struct.pack(">hi", 0, 2_000_000_000)) is None
    assert subscribed_topics(struct.pack(">hi", 0, -1)) is None
    assert subscribed_topics(subscription("topic")[:-7]) is None


TEXT = st.text(max_size=8)
OFFSETS = st.builds(
    CommittedOffset,
    st.integers(-1, 2**63 - 1),
    st.integers(-1, 2**31 - 1),
    TEXT,
    st.integers(0, 2**62),
    st.just(-1),
    st.uuids(),
)
MEMBERS = st.builds(
    MemberValue,
    member_id=TEXT,
    instance_id=st.none() | TEXT,
    client_id=TEXT,
    client_host=TEXT,
    rebalance_timeout_ms=st.integers(0, 2**31 - 1),
    session_timeout_ms=st.integers(0, 2**31 - 1),
    subscription=st.binary(max_size=9),
    assignment=st.binary(max_size=9),
)
GROUPS = st.builds(
    GroupValue,
    protocol_type=TEXT,
    generation=st.integers(0, 2**31 - 1),
    protocol_name=st.none() | TEXT,
    leader=st.none() | TEXT,
    state_ms=st.integers(-1, 2**62),
    members=st.lists(MEMBERS, max_size=3).map(tuple),
)
RECORDS = st.one_of(
    st.builds(OffsetRecord, TEXT, TEXT, st.integers(0, 2**31 - 1), st.none() | OFFSETS),
    st.builds(GroupRecord, TEXT, st.none() | GROUPS),
)


@settings(max_examples=60, deadline=None)
@given(RECORDS)
def test_records_come_back_as_they_went(record: OffsetRecord | GroupRecord) -> None:
    assert records.decode(*records.encode(record)) == record


def test_an_explicit_expiry_is_kept_in_the_version_that_has_it_which_knows_no_epoch() -> None:
    key, value = records.encode(OffsetRecord("g", "t", 1, CommittedOffset(5, 7, "m", 10, 99)))
    assert records.decode(key, value) == OffsetRecord("g", "t", 1, CommittedOffset(5, -1, "m", 10, 99))


def test_bytes_are_kafkas() -> None:
    """Keys start with the record type, values with their version. Source: Kafka's OffsetCommitKey/Value, GroupMetadataKey/Value."""
    key, value = records.encode(OffsetRecord("grp", "tpc", 2, CommittedOffset(9, 4, "md", 1000)))
    assert key.hex() == "0001" + "0003" + b"grp".hex() + "0003" + b"tpc".hex() + "00000002"
    assert value is not None
    assert value.hex() == "0003" + "0000000000000009" + "00000004" + "0002" + b"md".hex() + "00000000000003e8"
    group = GroupValue(protocol_type="consumer", generation=3, protocol_name=None, leader=None, state_ms=5)
    key, value = records.encode(GroupRecord("grp", group))
    assert key.hex() == "0002" + "0003" + b"grp".hex()
    assert value is not None
    assert value.hex() == "0003" + "0008" + b"consumer".hex() + "00000003" + "ffff" + "ffff" + f"{5:016x}" + "00000000"


def test_offset_records_of_the_first_kafkas_are_read() -> None:
    key = bytes.fromhex("0000" + "0001") + b"g" + bytes.fromhex("0001") + b"t" + bytes(4)
    value = bytes.fromhex("0000" + f"{7:016x}" + "0000" + f"{8:016x}")
    assert records.decode(key, value) == OffsetRecord("g", "t", 0, CommittedOffset(7, -1, "", 8))


def test_other_kinds_are_passed_over_and_damage_is_named() -> None:
    assert records.decode(b"\0\3whatever", b"x") is None
    assert records.decode(None, b"x") is None
    key, value = records.encode(OffsetRecord("g", "t", 0, CommittedOffset(1)))
    assert value is not None
    with pytest.raises(Corrupt, match="newer version"):
        records.decode(key, b"\0\7" + value[2:])
    with pytest.raises(Corrupt):
        records.decode(key[:5], value)
    with pytest.raises(Corrupt):
        records.decode(key, value[:7])
    with pytest.raises(Corrupt):
        records.decode(b"\0", value)


def test_ids_make_value_version_4_and_their_absence_version_3() -> None:
    _, plain = records.encode(OffsetRecord("g", "t", 0, CommittedOffset(1)))
    _, with_id = records.encode(OffsetRecord("g", "t", 0, CommittedOffset(1, topic_id=uuid.UUID(int=7))))
    assert plain is not None
    assert with_id is not None
    assert (plain[:2], with_id[:2]) == (b"\0\3", b"\0\4")
