"""The bytes of a data object, format 1, as structures and constants. All numbers are big-endian.

    data          blocks of whole record batches, verbatim, one stream per block, about 512 KiB each
    checkpoints   one per slice that has any, opaque here
    index         index header, then per slice: its row, the topic's name, its block rows
    trailer       112 bytes; its last 16 bytes keep their place in every future format

CRCs are CRC32C. The trailer's CRC guards the trailer, `index_crc` the index, and the index holds the CRC of every block
and checkpoint. So the CRC over index and trailer, which the metadata records as the object's CRC, covers every byte
while each is read once at encoding.
"""

from struct import Struct

FORMAT_VERSION = 1
"""Raised when an older broker could misread a new object; older formats stay readable."""

MAGIC = b"AMQOBJ\r\n"
"""Ends every object. The line end makes damage by a text-mode transfer visible."""

DATA_BLOCK_BYTES = 512 * 1024
"""Aim for a block: large enough that a ranged GET is worth its price, small enough for a read-ahead unit."""

INDEX_HEADER = Struct(">iqqBI")
"""node id, broker epoch, created ms, object kind, number of slices."""

SLICE_ROW = Struct(">qq16siHqIII")
"""stream id, stream epoch, topic id, partition, bytes of the topic's name, checkpoint position, length, crc, blocks."""

BLOCK_ROW = Struct(">qqqIIqI")
"""first offset, last offset, position, length, records, max timestamp, crc."""

TRAILER = Struct(">64sqqqIxxxx")
"""cluster id (UTF-8, zero-padded), object id, index position, index length, index crc."""

TRAILER_VERSION = Struct(">HH")
"""size of the whole trailer, format version. From here on the trailer looks the same in every future format."""

TRAILER_END = Struct(">I8s")
"""crc of the trailer up to here, magic."""

TRAILER_BYTES = TRAILER.size + TRAILER_VERSION.size + TRAILER_END.size
CLUSTER_ID_BYTES_MAX = 64
U32_MAX = 0xFFFF_FFFF

__all__ = [
    "BLOCK_ROW",
    "CLUSTER_ID_BYTES_MAX",
    "DATA_BLOCK_BYTES",
    "FORMAT_VERSION",
    "INDEX_HEADER",
    "MAGIC",
    "SLICE_ROW",
    "TRAILER",
    "TRAILER_BYTES",
    "TRAILER_END",
    "TRAILER_VERSION",
    "U32_MAX",
]
