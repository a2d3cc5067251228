"""The head object as a value: its bytes, its formats, and how an unknown outcome is judged by it."""

import zlib
from dataclasses import replace
from uuid import UUID

import pytest
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.meta.codec import encode_batch
from automq_broker.meta.head import Head, Holder, Outcome, build, classify, parse
from automq_broker.meta.records import StreamClosed

HEAD = Head(
    cluster_id="AAAAAAAAAAAAAAAAAAAAAA",
    epoch=3,
    holder=Holder(node_id=1, endpoint="host:9092", volume_uuid=UUID(int=5), incarnation=UUID(int=6)),
    seq=17,
    nonce="n1",
    renew_s=3.0,
    is_released=True,
    snapshot="meta/snapshot/1",
    snapshot_seq=10,
    deltas=("meta/delta/11", "meta/delta/12"),
    inline=encode_batch(17, [StreamClosed(stream_id=1)]),
)


def test_a_head_survives_the_way_through_bytes():
    assert parse(build(HEAD)) == HEAD
    assert [batch.seq for batch in HEAD.inline_batches()] == [17]


def test_people_can_read_the_first_lines():
    first, second, _ = build(HEAD).split(b"\n", 2)
    assert first.startswith(b"AMQHEAD 1 ")
    assert second.startswith(b'{"cluster_id":"AAAAAAAAAAAAAAAAAAAAAA","epoch":3,"holder":{"node_id":1,')


def test_the_nonce_alone_changes_the_bytes():
    assert build(HEAD) != build(replace(HEAD, nonce="n2"))


def test_a_newer_format_is_refused_by_name_before_anything_else_is_read():
    with pytest.raises(Refused, match=r"format 2 .* newer release; this one reads up to 1"):
        parse(b"AMQHEAD 2 whatever comes here\nand here")


def test_every_flipped_byte_is_noticed():
    data = build(HEAD)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x04
        with pytest.raises((Corrupt, Refused)):
            parse(bytes(damaged))


def test_other_objects_are_no_heads():
    for data in (b"", b"AMQHEAD", b"hello world\n", b"AMQHEAD x y\n"):
        with pytest.raises(Corrupt):
            parse(data)


def test_fields_that_make_no_sense_are_damage():
    for rest in (b"{}\n", b"[]\n", b"no json\n"):
        with pytest.raises(Corrupt, match="make no sense"):
            parse(f"AMQHEAD 1 {zlib.crc32(rest):08x}\n".encode() + rest)


def test_what_a_head_references():
    assert HEAD.references("meta/snapshot/1")
    assert HEAD.references("meta/delta/12")
    assert not HEAD.references("meta/delta/13")


def test_an_unknown_outcome_is_judged_by_the_head_that_is_read_back():
    own = replace(HEAD, seq=18, nonce="own")
    other = replace(HEAD, seq=18, nonce="other")
    assert classify(own, own=own, base=HEAD) is Outcome.APPLIED
    assert classify(HEAD, own=own, base=HEAD) is Outcome.NOT_YET
    assert classify(other, own=own, base=HEAD) is Outcome.OVERTAKEN
    assert classify(other, own=own, base=None) is Outcome.OVERTAKEN
    assert classify(replace(own, seq=30), own=own, base=HEAD) is Outcome.OVERTAKEN, "a nonce alone proves nothing"
