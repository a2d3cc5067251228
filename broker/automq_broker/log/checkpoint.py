"""Producer state as bytes: the checkpoint that each object carries per stream.

Layout, little endian: magic u32, version u16, producers u32, offset i64; per producer by ascending id: id i64,
epoch i16, last activity i64 (ms), batches u8, then per batch, oldest first, last sequence i32, offset delta i32,
last offset i64, max timestamp i64; at the end the CRC32C of everything before it. Fixed widths, since one pack call
per producer keeps 20 000 producers to a few tens of milliseconds; the size is 19 + 24 bytes per batch remembered.

ORDER: a checkpoint is valid at the end of the range that it is committed with, and knows no batch above it, although
the log has gone on meanwhile. Those batches may still be lost in a crash; a checkpoint that knew them would answer
their retries with offsets that do not exist.
"""

from array import array
from collections.abc import Mapping
from struct import Struct, error
from typing import Final

from crc32c import crc32c

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import Offset
from automq_broker.log.producer import FIELDS, LAST_OFFSET, WINDOW_BATCHES, Producer

Buffer = bytes | bytearray | memoryview

MAGIC: Final = 0x53505141  # "AQPS"
VERSION: Final = 1
HEADER: Final = Struct("<IHIq")
CRC: Final = Struct("<I")
PRODUCER: Final = Struct("<qhqB")
WITH_BATCHES: Final = tuple(Struct("<qhqB" + "iiqq" * n) for n in range(WINDOW_BATCHES + 1))
BATCHES: Final = tuple(Struct("<" + "iiqq" * n) for n in range(WINDOW_BATCHES + 1))


def encode(offset: Offset, producers: Mapping[int, Producer]) -> bytes:
    """The bytes of a checkpoint valid at `offset`; equal input gives equal bytes whatever the mapping's order.

    Batches at or above `offset` are left out, and producers that have no others. What is left and the batches replayed
    from `offset` on give the live state exactly. If a crash lost the last of those, each producer still knows all that
    it can retry: its window less what was lost, and no client has more than five batches under way.
    """
    parts = [b""]
    for producer_id in sorted(producers):
        entry = producers[producer_id]
        window = _below(offset, entry)
        batches = len(window) // FIELDS
        if batches:
            parts.append(WITH_BATCHES[batches].pack(producer_id, entry.epoch, entry.active_ms, batches, *window))
    parts[0] = HEADER.pack(MAGIC, VERSION, len(parts) - 1, offset)
    body = b"".join(parts)
    return body + CRC.pack(crc32c(body))


def _below(offset: Offset, entry: Producer) -> "array[int]":
    """The part of the producer's window that lies below `offset`."""
    window = entry.window
    end = len(window)
    while end and window[end - FIELDS + LAST_OFFSET] >= offset:
        end -= FIELDS
    return window if end == len(window) else window[:end]


def decode(data: Buffer) -> tuple[Offset, dict[int, Producer]]:
    """The offset a checkpoint is valid for, and its producers.

    Raises Corrupt if the bytes are not exactly what `encode` wrote, Refused if a newer version wrote them.
    """
    view = memoryview(data)
    if len(view) < HEADER.size + CRC.size:
        raise Corrupt(f"producer checkpoint of {len(view)} bytes is too short")
    magic, version, count, offset = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise Corrupt(f"producer checkpoint begins with {magic:#010x}")
    body, end = view[: -CRC.size], len(view) - CRC.size
    if crc32c(body) != CRC.unpack_from(view, end)[0]:
        raise Corrupt(f"producer checkpoint at offset {offset} fails its CRC")
    if version > VERSION:
        raise Refused(f"producer checkpoint has format version {version}; this program reads up to {VERSION}")
    try:
        producers, position = _producers(body, count)
    except (error, IndexError) as problem:
        raise Corrupt(f"producer checkpoint at offset {offset} is malformed") from problem
    if position != end or len(producers) != count:
        raise Corrupt(f"producer checkpoint at offset {offset} does not hold exactly {count} producers")
    return Offset(offset), producers


def _producers(body: memoryview, count: int) -> tuple[dict[int, Producer], int]:
    producers: dict[int, Producer] = {}
    position = HEADER.size
    for _ in range(count):
        producer_id, epoch, active_ms, batches = PRODUCER.unpack_from(body, position)
        position += PRODUCER.size
        if batches == 0:
            raise IndexError(batches)
        entry = Producer(epoch, active_ms)
        entry.window = array("q", BATCHES[batches].unpack_from(body, position))
        entry.last_sequence = entry.window[-FIELDS]
        producers[producer_id] = entry
        position += BATCHES[batches].size
    return producers, position


__all__ = ["decode", "encode"]
