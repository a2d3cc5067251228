"""The head object: the one key in the bucket that is changed by compare-and-swap, as a value.

Form (version 1): one line of ASCII, one line of JSON for people and programs, then the batches that ride along.

    AMQHEAD 1 <CRC-32 of everything after this line, hex>\\n
    {"cluster_id": ..., "epoch": ..., "seq": ..., "deltas": [...], ...}\\n
    <batches as in codec.py>

Every PUT carries a fresh nonce, so no two heads have the same bytes and an ETag never comes back. That is what makes
"which head is it?" decidable after an unknown outcome: `classify`.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final
from uuid import UUID

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.codec import Batch, split_batches

MAGIC: Final = "AMQHEAD"
VERSION: Final = 1
NO_SNAPSHOT: Final = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who is the controller. A starting process that finds the WAL with this `volume_uuid` is the same holder."""

    node_id: NodeId
    endpoint: str
    volume_uuid: UUID
    incarnation: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the cluster agrees on.

    The state is the snapshot (which holds everything up to `snapshot_seq`), then the batches of `deltas` in order, then
    `inline`; batches at or below `snapshot_seq` are in the snapshot already. `renew_s` is the holder's promise: an idle
    holder writes at least that often, so a candidate waits for a multiple of it. A holder that ends in good order
    leaves `is_released`: nobody has to wait then.
    """

    cluster_id: str
    epoch: int
    holder: Holder
    seq: int
    nonce: str
    renew_s: float
    is_released: bool = False
    snapshot: str = NO_SNAPSHOT
    snapshot_seq: int = 0
    deltas: tuple[str, ...] = ()
    inline: bytes = b""

    def references(self, key: str) -> bool:
        """Whether the state cannot be loaded without this key."""
        return key == self.snapshot or key in self.deltas

    def inline_batches(self) -> Iterator[Batch]:
        """The batches that ride along, in order; raises Corrupt."""
        return split_batches(self.inline)


class Outcome(Enum):
    """What reading the head back says about a PUT whose answer was not a plain success."""

    APPLIED = "own nonce: the PUT was applied"
    NOT_YET = "the head that it was built on: not applied, but it still may be; only the very same bytes may be sent"
    OVERTAKEN = "another head: step down; whether ours was ever applied is unknown"


def classify(read: Head, *, own: Head, base: Head | None) -> Outcome:
    """Judge a PUT of `own`, built on `base` (None: the head did not exist), by the head that was `read` back."""
    if _mark(read) == _mark(own):
        return Outcome.APPLIED
    if base is not None and _mark(read) == _mark(base):
        return Outcome.NOT_YET
    return Outcome.OVERTAKEN


def _mark(head: Head) -> tuple[int, int, str]:
    return head.epoch, head.seq, head.nonce


def build(head: Head) -> bytes:
    """The bytes of the head object."""
    fields = {
        "cluster_id": head.cluster_id,
        "epoch": head.epoch,
        "holder": {
            "node_id": head.holder.node_id,
            "endpoint": head.holder.endpoint,
            "volume_uuid": str(head.holder.volume_uuid),
            "incarnation": str(head.holder.incarnation),
        },
        "seq": head.seq,
        "nonce": head.nonce,
        "renew_s": head.renew_s,
        "is_released": head.is_released,
        "snapshot": head.snapshot,
        "snapshot_seq": head.snapshot_seq,
        "deltas": list(head.deltas),
    }
    rest = json.dumps(fields, separators=(",", ":")).encode() + b"\n" + head.inline
    return f"{MAGIC} {VERSION} {zlib.crc32(rest):08x}\n".encode() + rest


def parse(data: bytes) -> Head:
    """The head in `data`. Raises Refused for a newer format, by name, and Corrupt for bytes that are no head."""
    line, newline, rest = data.partition(b"\n")
    words = line.split(b" ")
    if not newline or len(words) < 2 or words[0] != MAGIC.encode() or not words[1].isdigit():
        raise Corrupt("the object meta/head is no head object")
    if int(words[1]) > VERSION:
        raise Refused(f"head format {int(words[1])} was written by a newer release; this one reads up to {VERSION}")
    if words[2:] != [f"{zlib.crc32(rest):08x}".encode()]:
        raise Corrupt("the object meta/head does not match its CRC")
    text, _, inline = rest.partition(b"\n")
    try:
        return _from_fields(json.loads(text), inline)
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"the object meta/head has fields that make no sense: {error}") from error


def _from_fields(fields: dict[str, Any], inline: bytes) -> Head:
    holder = fields["holder"]
    return Head(
        cluster_id=str(fields["cluster_id"]),
        epoch=int(fields["epoch"]),
        holder=Holder(
            node_id=NodeId(int(holder["node_id"])),
            endpoint=str(holder["endpoint"]),
            volume_uuid=UUID(holder["volume_uuid"]),
            incarnation=UUID(holder["incarnation"]),
        ),
        seq=int(fields["seq"]),
        nonce=str(fields["nonce"]),
        renew_s=float(fields["renew_s"]),
        is_released=bool(fields["is_released"]),
        snapshot=str(fields["snapshot"]),
        snapshot_seq=int(fields["snapshot_seq"]),
        deltas=tuple(str(key) for key in fields["deltas"]),
        inline=inline,
    )


__all__ = ["NO_SNAPSHOT", "VERSION", "Head", "Holder", "Outcome", "build", "classify", "parse"]
