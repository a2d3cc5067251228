"""Kafka's four compressions as its clients write them, with a ceiling on what may come out.

A hostile batch of some kilobytes can unfold to gigabytes. Output goes into a buffer that grows up to the ceiling and
never above it, so that memory is bounded by the ceiling and not by what the bytes claim. CPU work: run it off the loop.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from struct import Struct
from typing import NoReturn

import cramjam

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.primitives import Buffer

_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES = 16
"""Magic, version and lowest compatible version (int32 each) of snappy-java's stream."""

_XERIAL_BLOCK_BYTES = 32 * 1024
_INT32 = Struct(">i")
_FIRST_BUFFER_BYTES = 4096
_GROWTH = 8
RATIO_FREE_BYTES = 1 << 20
"""Up to here the ratio does not count: a small batch of equal records shrinks a thousandfold and is no attack."""

_ZSTD_LEVEL = 3
"""zstd's own default and Kafka's; the library would take 11, which costs ten times as much."""


class Compression(IntEnum):
    """The codec in the three low bits of a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


def compress(kind: int, data: Buffer, level: int | None = None) -> bytes:
    """`data` in the form that Java clients write; `level` None is the codec's default.

    Raises ClientFault for a codec that Kafka lacks.
    """
    match kind:
        case Compression.NONE:
            return bytes(data)
        case Compression.GZIP:
            return bytes(cramjam.gzip.compress(data, level))
        case Compression.SNAPPY:
            return b"".join(_xerial_blocks(memoryview(data)))
        case Compression.LZ4:
            # Kafka's Java reader refuses frames whose blocks depend on each other, which are the library's default.
            compressor = cramjam.lz4.Compressor(level=level, content_checksum=False, block_linked=False)
            compressor.compress(bytes(data))
            return bytes(compressor.finish())
        case Compression.ZSTD:
            return bytes(cramjam.zstd.compress(data, _ZSTD_LEVEL if level is None else level))
        case _:
            raise ClientFault(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"compression {kind}")


def decompress(kind: int, data: Buffer, *, limit_bytes: int, limit_ratio: int) -> Buffer:
    """The bytes that `data` unfolds to; `data` itself when it is not compressed.

    At most `limit_bytes` are ever produced, and above RATIO_FREE_BYTES at most limit_ratio x len(data). Raises
    ClientFault: INVALID_RECORD above that or for broken data, UNSUPPORTED_COMPRESSION_TYPE for a codec that Kafka lacks.
    """
    ceiling = min(limit_bytes, max(RATIO_FREE_BYTES, limit_ratio * len(data)))
    match kind:
        case Compression.NONE:
            return data
        case Compression.GZIP:
            return _unfold(cramjam.gzip.decompress_into, data, ceiling)
        case Compression.SNAPPY:
            return _unfold_snappy(memoryview(data), ceiling)
        case Compression.LZ4:
            return _unfold(cramjam.lz4.decompress_into, data, ceiling)
        case Compression.ZSTD:
            return _unfold(cramjam.zstd.decompress_into, data, ceiling)
        case _:
            raise ClientFault(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"compression {kind}")


def _unfold(decompress_into: Callable[[Buffer, bytearray], int], data: Buffer, ceiling: int) -> memoryview:
    """Unfold into buffers of growing size; the library stops where a buffer is full.

    COST: what did not fit is unfolded again, at most an eighth more work each time.
    """
    size = min(ceiling, max(_FIRST_BUFFER_BYTES, 4 * len(data)))
    while True:
        buffer = bytearray(size)
        try:
            return memoryview(buffer)[: decompress_into(data, buffer)]
        except cramjam.DecompressionError as error:
            # "Full" and "broken" are told apart by the error's text only; broken data just fails again, and soon.
            reason = str(error)
        del buffer  # a refusal's traceback would keep it
        if size >= ceiling:
            _refuse(f"cannot be decompressed into {ceiling} bytes: {reason}")
        size = min(ceiling, size * _GROWTH)


def _unfold_snappy(data: memoryview, ceiling: int) -> memoryview:
    """snappy-java's stream of blocks, or one raw block; both say their size, which is checked before it is believed."""
    blocks = list(_blocks_of_xerial(data)) if data[: len(_XERIAL_MAGIC)] == _XERIAL_MAGIC else [data]
    try:
        sizes = [cramjam.snappy.decompress_raw_len(block) for block in blocks]
        if sum(sizes) > ceiling:
            _refuse(f"unfolds to {sum(sizes)} bytes, {ceiling} are allowed")
        buffer = memoryview(bytearray(sum(sizes)))
        position = 0
        for block, size in zip(blocks, sizes, strict=True):
            position += cramjam.snappy.decompress_raw_into(block, buffer[position : position + size])
    except cramjam.DecompressionError as error:
        _refuse(str(error))
    return buffer[:position]


def _blocks_of_xerial(data: memoryview) -> Iterator[memoryview]:
    position = _XERIAL_HEADER_BYTES
    while position < len(data):
        start = position + _INT32.size
        if start > len(data):
            _refuse("a snappy block's length is cut short")
        position = start + _INT32.unpack_from(data, position)[0]
        if not start < position <= len(data):
            _refuse("a snappy block's length is wrong")
        yield data[start:position]


def _xerial_blocks(data: memoryview) -> Iterator[bytes]:
    yield _XERIAL_MAGIC + _INT32.pack(1) * 2
    for start in range(0, len(data), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(data[start : start + _XERIAL_BLOCK_BYTES]))
        yield _INT32.pack(len(block)) + block


def _refuse(reason: str) -> NoReturn:
    raise ClientFault(ErrorCode.INVALID_RECORD, f"compressed records: {reason}")


__all__ = ["Compression", "compress", "decompress"]
