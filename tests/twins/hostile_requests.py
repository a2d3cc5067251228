"""Requests that no client sends: cut anywhere, with absurd lengths, wild values, and batches that lie or explode.

Everything is made from a seed. Frames are whole (their length prefix is right) unless they say otherwise.
"""

import gzip
import random
import struct
from collections.abc import Iterator
from typing import Any

import lz4.frame
import snappy
import zstandard
from automq_broker.desk.index import SERVED
from automq_broker.wire.batches import BATCH_HEADER_BYTES, HEADER, read_batch_header, stamp_crc
from automq_broker.wire.frames import encode_request
from automq_broker.wire.index import request_class
from automq_broker.wire.records import Record, encode_batch
from automq_broker.wire.schema import Array, Message, Versions
from twins.random_messages import random_message

CLIENT_ID = "hostile"
_HUGE = (
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xfe",
    b"\x7f\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\x80\x80\x80\x80\x80\x01",
    b"\x00\x98\x96\x80",
)
"""Lengths as int32, int16 and varints of every width: larger than any frame, negative, or barely believable."""
BOMB_BYTES = 256 << 20


def served() -> list[tuple[int, int]]:
    """Every (key, version) that the broker serves."""
    return [
        (key, version) for key, row in sorted(SERVED.items()) for version in range(row.min_version, row.max_version + 1)
    ]


def frame(body: bytes) -> bytes:
    """`body` behind its length."""
    return struct.pack(">i", len(body)) + body


def request(key: int, version: int, rng: random.Random, names: dict[str, list[Any]]) -> bytes:
    """A request that is valid on the wire; where a field has a name in `names`, often one of those values."""
    message = random_message(request_class(key), version, rng)
    _make_likely(message, version, rng, names)
    return encode_request(key, version, rng.getrandbits(31), CLIENT_ID, message)


def _make_likely(message: Message, version: int, rng: random.Random, names: dict[str, list[Any]]) -> None:
    for field in type(message).SCHEMA.fields:
        if not Versions.parse(field.versions).has(version):
            continue
        value = getattr(message, field.name)
        if isinstance(field.type, Array):
            for number, item in enumerate(value or ()):
                if isinstance(item, Message):
                    _make_likely(item, version, rng, names)
                elif field.name in names and rng.random() < 0.7:
                    value[number] = rng.choice(names[field.name])
        elif isinstance(value, Message):
            _make_likely(value, version, rng, names)
        elif field.name in names and rng.random() < 0.7:
            setattr(message, field.name, rng.choice(names[field.name]))


def truncations(whole: bytes) -> Iterator[bytes]:
    """The request, ended after each of its bytes."""
    for end in range(4, len(whole)):
        yield frame(whole[4:end])


def absurd_lengths(whole: bytes, rng: random.Random) -> Iterator[bytes]:
    """The request with a huge length written over each of its places, so that every length field is met."""
    for position in range(8, len(whole)):
        length = rng.choice(_HUGE)
        yield frame((whole[:position] + length + whole[position + len(length) :])[4:])


def lying_batches(rng: random.Random) -> Iterator[bytes]:
    """Batches whose header, records, codec or checksum are wrong."""
    good = encode_batch(
        [Record(timestamp=1_700_000_000_000, key=b"k", value=b"v" * 40)] * 3, compression=rng.randrange(5)
    )
    for _ in range(40):
        batch = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            batch[rng.randrange(len(batch))] = rng.getrandbits(8)
        if rng.random() < 0.7:
            stamp_crc(batch)
        yield bytes(batch)
    for end in (0, 1, 11, 12, 16, 17, 60, 61, len(good) - 1):
        yield good[:end]
    yield rng.randbytes(rng.randrange(1, 2000))
    header = read_batch_header(good)
    for count in (-1, 0, 2**31 - 1):
        lying = bytearray(HEADER.pack(*header._replace(records_count=count, last_offset_delta=count - 1)))
        lying += good[BATCH_HEADER_BYTES:]
        stamp_crc(lying)
        yield bytes(lying)


def bomb(codec: int) -> bytes:
    """A batch below the size limit that unfolds to BOMB_BYTES, or claims to (snappy shrinks too little to hold them)."""
    zeros = bytes(1 << 20)
    if codec == 1:
        payload = gzip.compress(bytes(BOMB_BYTES), 6)
    elif codec == 2:
        payload = b"\x80\x80\x80\x80\x01" + snappy.compress(zeros)[3:]  # a raw block that says 256 MiB
    elif codec == 3:
        payload = lz4.frame.compress(bytes(BOMB_BYTES // 2), block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    else:
        payload = zstandard.ZstdCompressor().compress(bytes(BOMB_BYTES))
    header = read_batch_header(encode_batch([Record(timestamp=1_700_000_000_000, key=b"k", value=b"v")]))
    changed = header._replace(batch_length=BATCH_HEADER_BYTES - 12 + len(payload), attributes=codec)
    batch = bytearray(HEADER.pack(*changed)) + payload
    stamp_crc(batch)
    return bytes(batch)


__all__ = [
    "BOMB_BYTES",
    "CLIENT_ID",
    "absurd_lengths",
    "bomb",
    "frame",
    "lying_batches",
    "request",
    "served",
    "truncations",
]
