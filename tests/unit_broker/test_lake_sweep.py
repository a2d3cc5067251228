"""lake/sweep.py: only garbage that no commit can still name, and never much at once without consent."""

from dataclasses import dataclass

import pytest
from automq_broker.lake.keys import HEAD_KEY, data_key, delta_key, snapshot_key
from automq_broker.lake.sweep import (
    Brake,
    ListedKey,
    SweepTicket,
    due_deletions,
    leases_to_retire,
    plan_meta_sweep,
    plan_sweep,
)

HOUR = 3_600_000


@dataclass(frozen=True)
class Block:
    first: int
    end: int
    issued_ms: int


def listing(*ids, size=10):
    return [ListedKey(key=data_key(object_id), size=size) for object_id in ids]


def plan(ids, *, leased=(), known=(), next_id=1000, live=100, brake=None, size=10, extra=()):
    return plan_sweep(
        SweepTicket(is_leased=lambda object_id: object_id in leased, next_object_id=next_id),
        [*listing(*ids, size=size), *extra],
        is_known=lambda object_id: object_id in known,
        live_objects=live,
        brake=brake or Brake(),
    )


def consent(orphans, size):
    return Brake(fraction_max=0, orphans_free=orphans, bytes_max=size)


def test_old_leases_are_proposed_and_young_ones_are_not():
    blocks = [Block(0, 10, 0), Block(10, 20, HOUR), Block(20, 30, 2 * HOUR)]
    assert leases_to_retire(blocks, now_ms=3 * HOUR) == [0, 10]


def test_an_orphan_is_unknown_unleased_and_older_than_the_ticket():
    found = plan([1, 2, 3, 1000, 1001], leased={2}, known={3})
    assert [one.key for one in found.delete] == [data_key(1)]
    assert found.size_bytes == 10


def test_a_foreign_key_is_reported_and_never_deleted():
    found = plan([], extra=[ListedKey(key="data/zz/readme.txt", size=5)])
    assert (found.delete, found.foreign) == ((), ("data/zz/readme.txt",))


def test_many_orphans_are_held_back_until_someone_consents():
    found = plan(range(30), live=100)
    assert found.delete == ()
    assert len(found.orphans) == 30
    assert "30 orphans" in found.held_back
    assert len(plan(range(30), live=100, brake=consent(30, 300)).delete) == 30
    assert plan(range(30), live=100, brake=consent(29, 300)).delete == (), "more than was agreed to"
    assert plan(range(30), live=100, brake=consent(30, 299)).delete == ()
    assert len(plan(range(30), live=1000).delete) == 30


def test_few_orphans_go_however_small_the_bucket():
    assert len(plan(range(20), live=0).delete) == 20
    assert plan(range(21), live=0).delete == ()


def test_many_bytes_are_held_back_too():
    found = plan([1, 2], size=1024**3, brake=Brake(bytes_max=1024**3))
    assert found.delete == ()
    assert "2.0 GiB" in found.held_back


@pytest.mark.parametrize(("now_ms", "expected"), [(599_999, []), (600_000, [5]), (700_000, [5, 3]), (10**9, [5, 3, 4])])
def test_a_replaced_object_goes_after_its_grace_the_oldest_first(now_ms, expected):
    assert due_deletions({3: 100_000, 4: 200_000, 5: 0}, now_ms=now_ms) == expected


def test_one_deletion_takes_no_more_than_a_request_does():
    assert len(due_deletions(dict.fromkeys(range(3000), 0), now_ms=10**9)) == 1000


def test_meta_keys_go_when_the_committed_head_covers_and_does_not_name_them():
    keys = [delta_key(5, "a"), delta_key(6, "a"), delta_key(6, "b"), snapshot_key(5, "s"), delta_key(7, "a"), HEAD_KEY]
    stale = plan_meta_sweep(
        [*keys, "meta/other"], committed_seq=6, referenced={delta_key(6, "b"), snapshot_key(5, "s")}
    )
    assert stale == [delta_key(5, "a"), delta_key(6, "a")]
