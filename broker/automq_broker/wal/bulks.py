"""A WAL without a disk, as bytes: the ring's blocks lie in bulks, the superblock in a claim, and a seal ends a log.

Each broker epoch writes a log of its own: bulks with consecutive numbers, each a header and a run of whole blocks. The
claim is replaced as a whole, by compare and swap: it carries the superblock of its owner's epoch, and every log that may
hold something or may still be written to, with the number of its first bulk that is needed. A seal stands where the next
bulk of a dead owner would have come, and stays for ever: what arrives late meets it (DESIGN 5a.10).

A header's `confirmed` says how many bulks of its log were known to be stored in a row when it was sent. So a missing bulk
is the end of the log unless a later one, or its seal, says that it was there: that is damage.
"""

import struct
from dataclasses import dataclass

from crc32c import crc32c

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import BrokerEpoch, Lsn, NodeId
from automq_broker.wal.format import Bytes
from automq_broker.wal.superblock import SUPERBLOCK_BYTES

FORMAT_VERSION = 1
NONCE_BYTES = 16

_BULK_MAGIC = b"AMQ-BULK"
_SEAL_MAGIC = b"AMQ-SEAL"
_CLAIM_MAGIC = b"AMQ-CLAI"
_START = struct.Struct("<8sII")  # magic, CRC32C of everything after it, format version
_BULK = struct.Struct("<qqQQQQQI")
_CLAIM = struct.Struct(f"<q{NONCE_BYTES}sI")
_LOG = struct.Struct("<qQ")
_CRC_FROM = 12

HEADER_BYTES = _START.size + _BULK.size
"""Of a bulk; a seal is this long altogether."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bulk:
    """One bulk as its header tells it: the blocks [lsn, lsn + length) of the ring; or a seal, which has none."""

    node_id: NodeId
    epoch: BrokerEpoch
    number: int
    generation: int
    lsn: Lsn
    length: int
    confirmed: int
    crc: int = 0
    """CRC32C of the blocks: a block that was damaged on the way must not look like the torn end of the log."""
    is_seal: bool = False

    @property
    def end_lsn(self) -> Lsn:
        """Where the next bulk goes on."""
        return Lsn(self.lsn + self.length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log of one epoch; bulks below `first` are not needed any more."""

    epoch: BrokerEpoch
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Whose the WAL is. `logs` ascend in epoch; the last one is the owner's. `page` is the superblock as 4 KiB."""

    node_id: NodeId
    nonce: bytes
    """Random, one for each process: two that claim the same epoch never write the same bytes."""
    logs: tuple[Log, ...]
    page: bytes


def encode_header(bulk: Bulk) -> bytes:
    """The header of a bulk, or a whole seal."""
    place = (bulk.node_id, bulk.epoch, bulk.number)
    body = _BULK.pack(*place, bulk.generation, bulk.lsn, bulk.length, bulk.confirmed, bulk.crc)
    return _sealed(_SEAL_MAGIC if bulk.is_seal else _BULK_MAGIC, body)


def decode_header(data: Bytes, key: str) -> Bulk:
    """A bulk's header or a seal. Raises Corrupt, which names the `key`, or Refused for a newer format."""
    magic = bytes(data[:8])
    if magic not in (_BULK_MAGIC, _SEAL_MAGIC) or len(data) < HEADER_BYTES:
        raise Corrupt(f"{key} is no bulk of a write-ahead log")
    body = _checked(data[:HEADER_BYTES], key)
    node_id, epoch, number, generation, lsn, length, confirmed, crc = _BULK.unpack_from(body)
    return Bulk(
        node_id=NodeId(node_id),
        epoch=BrokerEpoch(epoch),
        number=number,
        generation=generation,
        lsn=Lsn(lsn),
        length=length,
        confirmed=confirmed,
        crc=crc,
        is_seal=magic == _SEAL_MAGIC,
    )


def encode_claim(claim: Claim) -> bytes:
    """The whole object."""
    logs = b"".join(_LOG.pack(log.epoch, log.first) for log in claim.logs)
    return _sealed(_CLAIM_MAGIC, _CLAIM.pack(claim.node_id, claim.nonce, len(claim.logs)) + logs + claim.page)


def decode_claim(data: Bytes, key: str) -> Claim:
    """Raises Corrupt, which names the `key`, or Refused for a newer format."""
    if bytes(data[:8]) != _CLAIM_MAGIC:
        raise Corrupt(f"{key} is no claim of a write-ahead log")
    body = _checked(data, key)
    node_id, nonce, count = _CLAIM.unpack_from(body)
    page_at = _CLAIM.size + count * _LOG.size
    logs = tuple(
        Log(epoch=BrokerEpoch(epoch), first=first) for epoch, first in _LOG.iter_unpack(body[_CLAIM.size : page_at])
    )
    page = bytes(body[page_at:])
    if len(page) != SUPERBLOCK_BYTES:
        raise Corrupt(f"{key} is a claim with {len(page)} bytes of superblock")
    return Claim(node_id=NodeId(node_id), nonce=nonce, logs=logs, page=page)


def _sealed(magic: bytes, body: bytes) -> bytes:
    version = FORMAT_VERSION.to_bytes(4, "little")
    return _START.pack(magic, crc32c(version + body), FORMAT_VERSION) + body


def _checked(data: Bytes, key: str) -> memoryview:
    """The body behind a start whose CRC and version are right."""
    view = memoryview(data)
    _, crc, version = _START.unpack_from(view)
    if crc32c(view[_CRC_FROM:]) != crc:
        raise Corrupt(f"{key} does not fit its CRC")
    if version > FORMAT_VERSION:
        raise Refused(f"{key} has format version {version}; this program knows versions up to {FORMAT_VERSION}")
    return view[_START.size :]


__all__ = [
    "FORMAT_VERSION",
    "HEADER_BYTES",
    "NONCE_BYTES",
    "Bulk",
    "Claim",
    "Log",
    "decode_claim",
    "decode_header",
    "encode_claim",
    "encode_header",
]
