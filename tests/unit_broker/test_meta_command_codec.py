"""Commands and answers through bytes and back, golden bytes, and what bytes may be instead."""

import dataclasses
import typing
from collections.abc import Mapping
from uuid import UUID

import pytest
from automq_broker.kernel.errors import ClientFault, Corrupt, Fenced, NotMine, Refused, Retry
from automq_broker.meta import commands
from automq_broker.meta.command_codec import decode_answer, decode_command, encode_answer, encode_command
from automq_broker.meta.commands import Command, CommitRefused
from automq_broker.meta.rows import Endpoint, ObjectRow, PartitionRow, RangeRow, TopicRow
from hypothesis import given, settings
from hypothesis import strategies as st

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(max_size=12)
RANGE = st.builds(
    RangeRow,
    **{field.name: INT64 for field in dataclasses.fields(RangeRow) if field.name != "object_id"},
)
OBJECT = st.builds(
    ObjectRow,
    ranges=st.lists(RANGE, max_size=3).map(tuple),
    **{field.name: INT64 for field in dataclasses.fields(ObjectRow) if field.name != "ranges"},
)
TOPIC = st.builds(
    TopicRow,
    topic_id=st.uuids(),
    name=TEXT,
    is_internal=st.booleans(),
    created_ms=INT64,
    partitions=st.lists(st.builds(PartitionRow, index=INT64, stream_id=INT64, owner=INT64), max_size=4).map(tuple),
    configs=st.dictionaries(TEXT, TEXT, max_size=3),
)
ENDPOINT = st.builds(
    Endpoint,
    listener=TEXT,
    host=TEXT,
    port=st.integers(0, 65535),
    security_protocol=st.sampled_from(["SSL", "PLAINTEXT"]),
)


def values_of(hint):
    """A strategy for a field, by its type."""
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if hint in (int, bool, str, UUID, ObjectRow, TopicRow):
        return {int: INT64, bool: st.booleans(), str: TEXT, UUID: st.uuids(), ObjectRow: OBJECT, TopicRow: TOPIC}[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        item = ENDPOINT if arguments[0] is Endpoint else values_of(arguments[0])
        return st.lists(item, max_size=3).map(tuple)
    assert typing.get_origin(hint) is Mapping, hint
    return st.dictionaries(values_of(arguments[0]), values_of(arguments[1]), max_size=3)


def any_of(kind):
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: values_of(hints[field.name]) for field in dataclasses.fields(kind)})


COMMANDS = [
    kind for name in commands.__all__ if issubclass(kind := getattr(commands, name), Command) and kind is not Command
]
ANSWERS = [
    commands.Registered,
    commands.RescueGranted,
    commands.TopicCreated,
    commands.Opened,
    commands.IdBlock,
    commands.Committed,
    commands.WalLossAccepted,
]
REFUSALS = [
    ClientFault(3, "no such topic"),
    ClientFault(3),
    Retry("full", 0.5),
    NotMine("elsewhere"),
    Fenced("EPOCH_GONE"),
    Refused("mend it"),
    CommitRefused("old ends", {4: 100, 5: 7}, (5,)),
]


@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_every_command_survives_the_way_through_bytes(kind):
    @settings(max_examples=40)
    @given(any_of(kind))
    def check(command):
        assert decode_command(encode_command(command)) == command

    check()


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_every_answer_survives_the_way_through_bytes(kind):
    @settings(max_examples=40)
    @given(any_of(kind))
    def check(answer):
        assert decode_answer(encode_answer(answer)) == answer

    check()


def test_no_answer_at_all_is_an_answer_too():
    assert decode_answer(encode_answer(None)) is None


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{type(refusal).__name__}: {refusal}")
def test_every_refusal_survives_with_all_that_it_carries(refusal):
    read = decode_answer(encode_answer(refusal))
    assert type(read) is type(refusal)
    assert str(read) == str(refusal)
    assert vars(read).keys() == vars(refusal).keys()
    assert {k: v for k, v in vars(read).items() if k != "message"} == {
        k: v for k, v in vars(refusal).items() if k != "message"
    }


GOLDEN = {
    "0101" "0100000000000000" "0000000000000000" "00" "000000000000000000000000000000a1"
    "000000000000000000000000000000d1" "01000000" "68" "00000000" "00000000": commands.RegisterNode(
        node_id=1, incarnation=UUID(int=0xA1), volume_uuid=UUID(int=0xD1), volume_handle="h", wal_epoch_found=0
    ),
    "0109" "0200000000000000" "00" "0300000000000000" "0700000000000000" "000000000000000000000000000000c1"
    "01000000" "74" "02000000" "01000000" "6b" "01000000" "76" "02000000" "0100000000000000" "0200000000000000":
    commands.CreateTopic(
        name="t", topic_id=UUID(int=0xC1), partitions=2, configs={"k": "v"}, replication_factor=3, created_ms=7,
        owners=(1, 2),
    ),
    "010e" "0400000000000000" "0100000000000000" "0900000000000000" "0300000000000000" "6400000000000000":
    commands.OpenStream(stream_id=4, node_id=1, broker_epoch=9, stream_epoch=3, log_end=100),
}  # fmt: skip


@pytest.mark.parametrize("data", GOLDEN, ids=lambda data: type(GOLDEN[data]).__name__)
def test_the_bytes_of_version_1_never_change(data):
    assert encode_command(GOLDEN[data]).hex() == data
    assert decode_command(bytes.fromhex(data)) == GOLDEN[data]


def test_the_bytes_of_answers_of_version_1_never_change():
    opened = commands.Opened(stream_epoch=3, start_offset=5, committed_end=9)
    assert encode_answer(opened).hex() == "0104030000000000000005000000000000000900000000000000"
    assert encode_answer(ClientFault(36, "exists")).hex() == "0141240000000000000006000000657869737473"
    assert encode_answer(None).hex() == "0100"


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_bytes_are_read_or_refused(tail, kind):
    for read in (decode_command, decode_answer):
        try:
            read(bytes([1, kind]) + tail)
        except (Corrupt, Refused, ClientFault):
            continue


@given(any_of(commands.CommitObject), st.data())
def test_a_payload_that_is_cut_short_or_too_long_is_damage(command, data):
    whole = encode_command(command)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(Corrupt):
        decode_command(whole[:cut])
    with pytest.raises(Corrupt):
        decode_command(whole + b"\0")


def test_a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_allocated():
    huge = bytes.fromhex("010d0100000000000000ffffffff")
    with pytest.raises(Corrupt):
        decode_command(huge)
    with pytest.raises(Corrupt):
        decode_command(bytes.fromhex("0112") + bytes(24) + bytes.fromhex("00000000ffffffff"))


@pytest.mark.parametrize(("data", "name"), [("0201", "version 2"), ("01fe", "kind 254"), ("0100", "kind 0")])
def test_what_a_newer_release_sends_is_refused_by_name(data, name):
    with pytest.raises(Refused, match=name):
        decode_command(bytes.fromhex(data))
