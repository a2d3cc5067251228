"""The four compressions against other implementations, in the forms that clients really send."""

import gzip
import struct

import lz4.frame
import pytest
import snappy
import zstandard
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.compression import Compression, compress, decompress
from twins.kafka_python import snappy_encode

TEXT = b"a sentence that repeats itself, " * 3000
LIMITS = {"limit_bytes": 1 << 20, "limit_ratio": 10_000}

FORMS = {
    "gzip": (1, gzip.compress(TEXT)),
    "gzip in two members": (1, gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    "snappy, xerial": (2, snappy_encode(TEXT, xerial_compatible=True)),
    "snappy, xerial, one block": (2, snappy_encode(TEXT, xerial_compatible=True, xerial_blocksize=1 << 20)),
    "snappy, raw": (2, snappy.compress(TEXT)),
    "lz4": (3, lz4.frame.compress(TEXT)),
    "lz4, independent blocks, sizes and checksums": (
        3,
        lz4.frame.compress(TEXT, block_linked=False, content_checksum=True, block_checksum=True, store_size=True),
    ),
    "zstd": (4, zstandard.compress(TEXT)),
    "zstd, size unknown": (4, zstandard.ZstdCompressor(write_content_size=False).compress(TEXT)),
    "zstd, window of 128 MiB": (
        4,
        zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=27)).compress(TEXT),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_clients_send_is_read(form):
    kind, packed = FORMS[form]
    for buffer in (packed, bytearray(packed), memoryview(packed), memoryview(bytearray(packed))):
        assert decompress(kind, buffer, **LIMITS) == TEXT


@pytest.mark.parametrize("form", FORMS)
def test_what_is_cut_short_is_refused(form):
    kind, packed = FORMS[form]
    for end in {0, 1, 4, 8, 16, 20, len(packed) // 2, len(packed) - 9, len(packed) - 1}:
        if form == "gzip in two members" and end == len(gzip.compress(TEXT[:100])):
            continue
        with pytest.raises(ClientFault) as caught:
            if decompress(kind, packed[:end], **LIMITS) != TEXT:
                raise ClientFault(ErrorCode.INVALID_RECORD)
        assert caught.value.code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("kind", list(Compression))
@pytest.mark.parametrize("size", [0, 1, 100, 32 * 1024, 32 * 1024 + 1, len(TEXT)])
def test_what_we_compress_comes_back(kind, size):
    packed = compress(kind, memoryview(TEXT)[:size])
    assert decompress(kind, packed, **LIMITS) == TEXT[:size]


def test_lz4_blocks_do_not_depend_on_each_other_as_java_demands():
    flags = compress(Compression.LZ4, TEXT)[4]
    assert flags >> 6 == 1
    assert flags & 0x20
    assert lz4.frame.decompress(compress(Compression.LZ4, TEXT)) == TEXT


def test_snappy_is_written_as_java_writes_it():
    packed = compress(Compression.SNAPPY, TEXT)
    assert packed[:16] == b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"


def test_other_implementations_read_gzip_and_zstd_of_ours():
    assert gzip.decompress(compress(Compression.GZIP, TEXT)) == TEXT
    assert zstandard.ZstdDecompressor().decompress(compress(Compression.ZSTD, TEXT), len(TEXT)) == TEXT


@pytest.mark.parametrize("form", FORMS)
def test_exactly_the_ceiling_is_allowed_and_one_byte_more_is_not(form):
    kind, packed = FORMS[form]
    assert decompress(kind, packed, limit_bytes=len(TEXT), limit_ratio=1 << 30) == TEXT
    with pytest.raises(ClientFault):
        decompress(kind, packed, limit_bytes=len(TEXT) - 1, limit_ratio=1 << 30)


@pytest.mark.parametrize(
    "packed",
    [
        b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + struct.pack(">i", 0x7FFFFFFF) + b"x",
        b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + struct.pack(">i", -5) + b"x" * 20,
        b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + struct.pack(">i", 0) * 3,
        b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + b"\0\0",
        b"\xff\xff\xff\xff\x0f" + b"abc",  # a raw block that claims 4 GiB
        b"\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ],
)
def test_snappy_that_lies_about_its_lengths_is_refused(packed):
    with pytest.raises(ClientFault) as caught:
        decompress(Compression.SNAPPY, packed, limit_bytes=1 << 30, limit_ratio=1 << 30)
    assert caught.value.code == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("kind", [5, 6, 7, -1])
def test_unknown_codecs_are_refused_both_ways(kind):
    for call in (lambda: compress(kind, b"x"), lambda: decompress(kind, b"x", **LIMITS)):
        with pytest.raises(ClientFault) as caught:
            call()
        assert caught.value.code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
