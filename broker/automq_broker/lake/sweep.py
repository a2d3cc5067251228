"""What may be deleted from the bucket, and why it is safe (DESIGN 5a.9).

Three kinds of garbage, three rules:
- Objects that a commit replaced or expired: the metadata lists them with a time; after the grace they are deleted, then
  forgotten by another commit. The commit is the signal, so no brake applies.
- Orphans, uploads whose commit never came: an id lease that is old is retired by a commit, after which no object of it
  can be committed any more. Only a listing begun after that commit was confirmed may be judged, and only ids of leases
  that were retired before it. `SweepTicket` carries that order: it is made after the commit, the plan asks for it.
- Delta and snapshot keys: only up to the seq of a head that this controller itself committed, and not named by it.

A wrong clock costs work, never data: age only decides which lease is proposed for retirement.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.keys import parse_data_key, parse_meta_key

GIB = 1024**3
DELETE_PAGE = 1000
"""Keys in one delete request."""


class BlockView(Protocol):
    """A lease of object ids [first, end)."""

    @property
    def first(self) -> ObjectId: ...
    @property
    def end(self) -> ObjectId: ...
    @property
    def issued_ms(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """A key as a listing shows it."""

    key: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """How much one sweep may delete. Orphans are rare: many of them mean that something else is wrong.

    Up to `orphans_free` objects are always allowed, so that a small bucket is not held up by one failed upload. Somebody's
    consent to what they saw is a brake too: those numbers and a `fraction_max` of 0.
    """

    fraction_max: float = 0.05
    bytes_max: int = 100 * GIB
    orphans_free: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTicket:
    """Proof of order: the leases of `is_leased` were those left in a state confirmed before the listing began.

    Make it from a confirmed state, after the retirements were committed and before the first page is asked for.
    """

    is_leased: Callable[[ObjectId], bool]
    next_object_id: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """`delete` may go now. `held_back` says in one line why orphans stay until someone consents; "" = nothing does.

    `foreign` are keys below data/ that no program of ours writes: they are reported, never deleted.
    """

    delete: tuple[ListedKey, ...]
    orphans: tuple[ListedKey, ...]
    foreign: tuple[str, ...]
    held_back: str = ""

    @property
    def size_bytes(self) -> int:
        """Bytes that all orphans hold, also those held back."""
        return sum(one.size for one in self.orphans)


def leases_to_retire(blocks: Iterable[BlockView], *, now_ms: int, age_ms: int = 2 * 3600 * 1000) -> list[ObjectId]:
    """First ids of the leases that are old enough to be retired. Whoever still uses one takes a new lease and uploads
    again, so retiring a lease in use costs an upload and nothing else.
    """
    return [block.first for block in blocks if block.issued_ms <= now_ms - age_ms]


def plan_sweep(
    ticket: SweepTicket,
    listing: Iterable[ListedKey],
    *,
    is_known: Callable[[ObjectId], bool],
    live_objects: int,
    brake: Brake,
) -> SweepPlan:
    """Judge a listing of data/ that was begun after `ticket` was made.

    `is_known` answers, from the state of the ticket or any later one, whether an id is live or awaits its deletion.
    An id is an orphan when no lease of the ticket holds it, it was leased before the ticket, and nobody knows it.
    """
    orphans: list[ListedKey] = []
    foreign: list[str] = []
    for listed in listing:
        object_id = parse_data_key(listed.key)
        if object_id is None:
            foreign.append(listed.key)
        elif object_id < ticket.next_object_id and not ticket.is_leased(object_id) and not is_known(object_id):
            orphans.append(listed)
    held_back = _held_back(orphans, live_objects, brake)
    return SweepPlan(
        delete=() if held_back else tuple(orphans),
        orphans=tuple(orphans),
        foreign=tuple(foreign),
        held_back=held_back,
    )


def _held_back(orphans: Collection[ListedKey], live_objects: int, brake: Brake) -> str:
    size = sum(one.size for one in orphans)
    allowed = max(brake.orphans_free, int(brake.fraction_max * (live_objects + len(orphans))))
    if len(orphans) > allowed:
        return (
            f"{len(orphans)} orphans beside {live_objects} live objects are more than the {allowed} that may be deleted "
            "without further consent"
        )
    if size > brake.bytes_max:
        return (
            f"orphans of {size / GIB:.1f} GiB are more than the {brake.bytes_max / GIB:.1f} GiB that may be deleted "
            "without further consent"
        )
    return ""


def due_deletions(
    deleting: Mapping[ObjectId, int], *, now_ms: int, grace_ms: int = 600_000, limit: int = DELETE_PAGE
) -> list[ObjectId]:
    """Objects whose grace is over, the oldest first, at most `limit` (one delete request).

    `deleting` maps an id to the time of the commit that ended it. The grace is for readers with older metadata.
    """
    due = sorted((since_ms, object_id) for object_id, since_ms in deleting.items() if since_ms <= now_ms - grace_ms)
    return [object_id for _, object_id in due[:limit]]


def plan_meta_sweep(keys: Iterable[str], *, committed_seq: int, referenced: Collection[str]) -> list[str]:
    """Delta and snapshot keys that nobody can need: covered by the head of `committed_seq` and not named in it.

    The head must be one that this controller itself committed and saw confirmed: a head merely read may already have
    been replaced by one that names a key of the same seq and another nonce.
    """
    stale = []
    for key in keys:
        found = parse_meta_key(key)
        if found is not None and found.seq <= committed_seq and key not in referenced:
            stale.append(key)
    return stale


__all__ = [
    "DELETE_PAGE",
    "BlockView",
    "Brake",
    "ListedKey",
    "SweepPlan",
    "SweepTicket",
    "due_deletions",
    "leases_to_retire",
    "plan_meta_sweep",
    "plan_sweep",
]
