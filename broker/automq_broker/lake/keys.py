"""Every key in the bucket, one paragraph each. Keys are relative to the cluster's prefix.

Numbers are zero-padded to 20 digits, so that the order of keys is the order of numbers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId

HEAD_KEY = "meta/head"
"""The one compare-and-swap object of the cluster."""

DELTA_PREFIX = "meta/delta/"
SNAPSHOT_PREFIX = "meta/snapshot/"
DATA_PREFIX = "data/"
WAL_PREFIX = "wal/"
SELFTEST_PREFIX = "selftest/"
"""Below it the start-up test writes and deletes throw-away keys; anything found there may be deleted at any time."""

_META_KEY = re.compile(r"meta/(delta|snapshot)/(\d{20})-([0-9A-Za-z]{1,64})")
_DATA_KEY = re.compile(r"data/[0-9a-f]{2}/(\d{20})")
_WAL_KEY = re.compile(r"wal/(\d{10})/(\d{20})/(\d{20})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetaKey:
    """A spilled batch (`delta`) or a snapshot of the metadata: the sequence number it ends at and a random nonce."""

    kind: Literal["delta", "snapshot"]
    seq: int
    nonce: str


def delta_key(seq: int, nonce: str) -> str:
    """Key of a metadata batch that was too large to ride inside the head object.

    The nonce keeps two controllers that reached the same `seq` from ever writing the same key.
    """
    return f"{DELTA_PREFIX}{seq:020d}-{nonce}"


def snapshot_key(seq: int, nonce: str) -> str:
    """Key of a metadata snapshot that holds everything up to and including `seq`."""
    return f"{SNAPSHOT_PREFIX}{seq:020d}-{nonce}"


def parse_meta_key(key: str) -> MetaKey | None:
    """Read a delta or snapshot key back; None for anything else, the head included."""
    found = _META_KEY.fullmatch(key)
    if found is None:
        return None
    return MetaKey(kind="delta" if found[1] == "delta" else "snapshot", seq=int(found[2]), nonce=found[3])


def data_key(object_id: ObjectId) -> str:
    """Key of a data object.

    The two hex digits are the id's low byte, turned around so that the first digit changes fastest: neighbouring ids
    land on different prefixes, and S3 spreads its request limits by prefix.
    """
    spread = f"{object_id & 0xFF:02x}"[::-1]
    return f"{DATA_PREFIX}{spread}/{object_id:020d}"


def parse_data_key(key: str) -> ObjectId | None:
    """Read a data key back; None when the key is no data key or stands below the wrong two digits."""
    found = _DATA_KEY.fullmatch(key)
    if found is None:
        return None
    object_id = ObjectId(int(found[1]))
    return object_id if data_key(object_id) == key else None


def wal_node_prefix(node_id: NodeId) -> str:
    """Prefix of everything that a node's WAL is when it lives in the bucket."""
    return f"{WAL_PREFIX}{node_id:010d}/"


def wal_claim_key(node_id: NodeId) -> str:
    """Key of the object that says who owns the node's WAL and which logs it is made of; compared and swapped."""
    return f"{wal_node_prefix(node_id)}claim"


def wal_prefix(node_id: NodeId, epoch: BrokerEpoch) -> str:
    """Prefix of the bulks that one incarnation of a node writes when its WAL lives in the bucket."""
    return f"{wal_node_prefix(node_id)}{epoch:020d}/"


def wal_bulk_key(node_id: NodeId, epoch: BrokerEpoch, number: int) -> str:
    """Key of one bulk; numbers are consecutive from 0, which is what lets an adopter seal the log at the first gap."""
    return f"{wal_prefix(node_id, epoch)}{number:020d}"


def parse_wal_bulk_key(key: str) -> tuple[BrokerEpoch, int] | None:
    """(epoch, number) of a bulk or a seal; None for anything else, the claim included."""
    found = _WAL_KEY.fullmatch(key)
    return None if found is None else (BrokerEpoch(int(found[2])), int(found[3]))


__all__ = [
    "DATA_PREFIX",
    "DELTA_PREFIX",
    "HEAD_KEY",
    "SELFTEST_PREFIX",
    "SNAPSHOT_PREFIX",
    "WAL_PREFIX",
    "MetaKey",
    "data_key",
    "delta_key",
    "parse_data_key",
    "parse_meta_key",
    "parse_wal_bulk_key",
    "snapshot_key",
    "wal_bulk_key",
    "wal_claim_key",
    "wal_node_prefix",
    "wal_prefix",
]
