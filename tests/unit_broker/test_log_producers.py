"""Idempotent producers against a model that remembers everything, and the bytes of their checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from automq_broker.kernel.errors import Bug, ClientFault, Corrupt, Refused
from automq_broker.log import checkpoint
from automq_broker.log.producer import first_sequence_of, last_sequence_of
from automq_broker.log.producers import ProducerStates
from automq_broker.wire.codes import ErrorCode
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.batch_headers import BatchHeader, idempotent

MAX = 2_147_483_647
NOW = 5_000


class Sender:
    """Appends what the states accept, at growing offsets, as a log would."""

    def __init__(self, **limits: int) -> None:
        self.states = ProducerStates(
            expiration_ms=limits.get("expiration_ms", 1000), producers_max=limits.get("producers_max", 100)
        )
        self.end = 0

    def send(self, header: Any, now_ms: int = NOW) -> str | tuple[int, int]:
        try:
            seen = self.states.check(header)
        except ClientFault as fault:
            return ErrorCode(fault.code).name
        self.states.check_invariants()
        if seen is not None:
            return (seen.first_offset, seen.last_offset)
        last = self.end + header.last_offset_delta
        self.states.update(header, last, header.max_timestamp, now_ms)
        self.end = last + 1
        self.states.check_invariants()
        return "ok"


def test_batches_in_order_are_new_and_a_retry_of_any_of_the_last_five_is_answered() -> None:
    sender = Sender()
    batches = [idempotent(1, i * 10, 10) for i in range(7)]
    assert [sender.send(batch) for batch in batches] == ["ok"] * 7
    assert [sender.send(batch) for batch in batches[2:]] == [(20, 29), (30, 39), (40, 49), (50, 59), (60, 69)]


def test_a_retry_older_than_the_window_is_out_of_order_not_duplicate() -> None:
    sender = Sender()
    for i in range(6):
        sender.send(idempotent(1, i))
    assert sender.send(idempotent(1, 0)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"


def test_a_retry_must_match_both_sequences() -> None:
    sender = Sender()
    sender.send(idempotent(1, 0, 10))
    assert sender.send(idempotent(1, 0, 5)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.send(idempotent(1, 5, 5)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.send(idempotent(1, 0, 11)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"


def test_a_gap_is_out_of_order() -> None:
    sender = Sender()
    sender.send(idempotent(1, 0, 10))
    assert sender.send(idempotent(1, 11)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.send(idempotent(1, 10)) == "ok"


def test_sequences_wrap_from_the_largest_int32_to_0() -> None:
    sender = Sender()
    assert sender.send(idempotent(1, MAX - 4, 3)) == "ok"
    assert sender.send(idempotent(1, MAX - 1, 4)) == "ok"
    assert sender.send(idempotent(1, 2, 2)) == "ok"
    assert sender.send(idempotent(1, MAX - 1, 4)) == (3, 6)
    assert sender.send(idempotent(1, 5)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.states.active()[0].last_sequence == 3


def test_a_batch_that_ends_at_the_largest_sequence_is_followed_by_0() -> None:
    sender = Sender()
    assert sender.send(idempotent(1, MAX - 1, 2)) == "ok"
    assert sender.send(idempotent(1, 1)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.send(idempotent(1, 0)) == "ok"
    assert sender.send(idempotent(1, MAX - 1, 2)) == (0, 1)


def test_an_unknown_producer_may_begin_with_any_sequence() -> None:
    sender = Sender()
    assert sender.send(idempotent(1, 77, epoch=4)) == "ok"
    assert sender.send(idempotent(1, 78, epoch=4)) == "ok"


def test_an_older_epoch_is_refused_even_for_a_retry() -> None:
    sender = Sender()
    sender.send(idempotent(1, 0, epoch=2))
    sender.send(idempotent(1, 0, epoch=3))
    assert sender.send(idempotent(1, 0, epoch=2)) == "INVALID_PRODUCER_EPOCH"
    assert sender.send(idempotent(1, 1, epoch=2)) == "INVALID_PRODUCER_EPOCH"


def test_a_new_epoch_begins_at_0_and_forgets_the_old_window() -> None:
    sender = Sender()
    sender.send(idempotent(1, 0, 10, epoch=0))
    assert sender.send(idempotent(1, 10, epoch=1)) == "OUT_OF_ORDER_SEQUENCE_NUMBER"
    assert sender.send(idempotent(1, 0, 10, epoch=1)) == "ok"
    assert sender.send(idempotent(1, 0, 10, epoch=1)) == (10, 19)


def test_a_producer_without_an_epoch_is_never_out_of_order() -> None:
    sender = Sender()
    assert sender.send(idempotent(1, 5, epoch=-1)) == "ok"
    assert sender.send(idempotent(1, 50, epoch=-1)) == "ok"
    assert sender.send(idempotent(1, 5, epoch=-1)) == (0, 0)
    assert sender.send(idempotent(1, 9, epoch=0)) == "ok"


def test_producers_do_not_disturb_each_other() -> None:
    sender = Sender()
    assert sender.send(idempotent(1, 0)) == sender.send(idempotent(2, 100)) == "ok"
    assert sender.send(idempotent(1, 1)) == sender.send(idempotent(2, 101)) == "ok"
    assert sender.states.active() == [(1, 0, 1, 1_000_000, -1, -1), (2, 0, 101, 1_000_000, -1, -1)]


def test_a_silent_producer_is_forgotten_after_the_expiration_time_whatever_its_timestamps_say() -> None:
    sender = Sender(expiration_ms=1000)
    sender.send(idempotent(1, 0, max_timestamp=1), now_ms=5000)
    sender.send(idempotent(2, 0, max_timestamp=2**40), now_ms=5500)
    assert sender.states.expire(5999) == 0
    assert sender.states.expire(6000) == 1
    assert [row.producer_id for row in sender.states.active()] == [2]
    assert sender.send(idempotent(1, 33), now_ms=6000) == "ok"


def test_the_table_is_bounded_and_the_longest_silent_go_first() -> None:
    sender = Sender(producers_max=32)
    for producer in range(100):
        assert sender.send(idempotent(producer, 0), now_ms=producer) == "ok"
        assert sender.send(idempotent(0, producer + 1), now_ms=producer) in ("ok", (1, 1))
    assert len(sender.states) <= 32
    assert {row.producer_id for row in sender.states.active()} >= {0, 99, 98}
    assert sender.states.evicted == 101 - len(sender.states) - 1


def test_a_checkpoint_with_more_producers_than_allowed_keeps_the_most_recent() -> None:
    older = Sender()
    for producer in range(50):
        older.send(idempotent(producer, 0), now_ms=producer)
    states = ProducerStates(expiration_ms=10**6, producers_max=32, is_complete=False)
    states.restore(older.states.snapshot(50), 50)
    assert [row.producer_id for row in states.active()] == list(range(20, 50))
    assert states.evicted == 20
    states.check_invariants()


def test_every_change_of_the_state_is_counted_and_a_judgement_is_none() -> None:
    sender = Sender(producers_max=3)
    seen = [sender.states.changes]
    sender.send(idempotent(1, 0), now_ms=0)
    seen.append(sender.states.changes)
    sender.states.check(idempotent(1, 0))
    sender.states.expire(5)
    assert sender.states.changes == seen[-1]
    sender.states.restore(Sender().states.snapshot(0), 0)
    seen.append(sender.states.changes)
    sender.states.expire(10**6)
    seen.append(sender.states.changes)
    assert seen == sorted(set(seen))


def test_a_window_is_joined_from_checkpoint_and_log_without_a_seam() -> None:
    whole, older = Sender(), Sender()
    late = ProducerStates(expiration_ms=1000, producers_max=10, is_complete=False)
    for i in range(7):
        for sender in (whole, older)[: 2 if i < 4 else 1]:
            assert sender.send(idempotent(1, i * 2, 2)) == "ok"
        if i >= 4:
            late.update(idempotent(1, i * 2, 2), i * 2 + 1, 1_000_000, NOW)
    late.restore(older.states.snapshot(8), 8)
    assert late.snapshot(14) == whole.states.snapshot(14)


def test_nothing_is_judged_before_the_older_state_is_there() -> None:
    states = ProducerStates(expiration_ms=1, producers_max=5, is_complete=False)
    with pytest.raises(Bug):
        states.check(idempotent(1, 0))
    states.complete_without_checkpoint()
    assert states.check(idempotent(1, 0)) is None


def test_an_epoch_that_goes_back_between_checkpoint_and_log_is_a_bug() -> None:
    older = Sender()
    older.send(idempotent(1, 0, epoch=5))
    newer = ProducerStates(expiration_ms=1, producers_max=5, is_complete=False)
    newer.update(idempotent(1, 0, epoch=4), 1, 0, NOW)
    with pytest.raises(Bug, match="back to 4"):
        newer.restore(older.states.snapshot(1), 1)


@pytest.mark.parametrize(
    ("first", "delta", "last"), [(0, 0, 0), (5, 4, 9), (MAX, 0, MAX), (MAX, 1, 0), (MAX - 1, 4, 2)]
)
def test_sequence_arithmetic_goes_both_ways_around_the_wrap(first: int, delta: int, last: int) -> None:
    assert last_sequence_of(first, delta) == last
    assert first_sequence_of(last, delta) == first


def sample() -> ProducerStates:
    sender = Sender()
    for i in range(8):
        sender.send(idempotent(1, i), now_ms=NOW + i)
        sender.send(idempotent(4_000_000_000_000, MAX - 1 + i if i < 2 else i - 2, epoch=32767), now_ms=NOW + i)
    return sender.states


def test_a_checkpoint_is_deterministic_and_comes_back_whole() -> None:
    states = sample()
    data = states.snapshot(16)
    assert states.snapshot(16) == data
    back = ProducerStates(expiration_ms=1000, producers_max=100, is_complete=False)
    back.restore(memoryview(data), 16)
    back.check_invariants()
    assert back.snapshot(16) == data
    assert back.active() == states.active()
    assert len(data) == 18 + 2 * (19 + 5 * 24) + 4


def test_the_layout_of_a_checkpoint_is_fixed() -> None:
    sender = Sender()
    sender.send(idempotent(7, 3, 2, epoch=1, max_timestamp=0x0102), now_ms=0x0304)
    body = bytes.fromhex(
        "41515053" "0100" "01000000" "0200000000000000"
        "0700000000000000" "0100" "0403000000000000" "01"
        "04000000" "01000000" "0100000000000000" "0201000000000000"
    )  # fmt: skip
    assert sender.states.snapshot(2) == body + crc32c(body).to_bytes(4, "little")


def test_every_damaged_byte_and_every_truncation_of_a_checkpoint_is_noticed() -> None:
    data = sample().snapshot(16)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        with pytest.raises(Corrupt):
            checkpoint.decode(damaged)
        with pytest.raises(Corrupt):
            checkpoint.decode(data[:position])


def sealed(body: bytes) -> bytes:
    return body + crc32c(body).to_bytes(4, "little")


def test_a_checkpoint_with_a_good_crc_and_bad_contents_is_still_refused() -> None:
    data = sample().snapshot(16)[:-4]
    with pytest.raises(Corrupt, match="begins with"):
        checkpoint.decode(sealed(b"XQPS" + data[4:]))
    with pytest.raises(Refused, match="version 2"):
        checkpoint.decode(sealed(data[:4] + b"\x02\x00" + data[6:]))
    for count in (0, 1, 3, 2**32 - 1):
        with pytest.raises(Corrupt):
            checkpoint.decode(sealed(data[:6] + count.to_bytes(4, "little") + data[10:]))
    for batches in (0, 6, 255):
        with pytest.raises(Corrupt):
            checkpoint.decode(sealed(data[:36] + bytes([batches]) + data[37:]))
    with pytest.raises(Corrupt):
        checkpoint.decode(sealed(data + b"\0"))


def test_a_checkpoint_of_another_offset_is_refused() -> None:
    with pytest.raises(Corrupt, match="valid at offset 16, replay began at 17"):
        ProducerStates(expiration_ms=1, producers_max=9).restore(sample().snapshot(16), 17)


@dataclass
class NaiveProducer:
    """Kafka's rules, written out over the whole history of one epoch."""

    epoch: int = -1
    batches: list[tuple[int, int, int]] = field(default_factory=list)

    def judge(self, header: BatchHeader) -> str | tuple[int, int]:
        if header.producer_epoch < self.epoch:
            return "INVALID_PRODUCER_EPOCH"
        if header.producer_epoch > self.epoch:
            fresh = self.epoch == -1
            return "ok" if fresh or header.base_sequence == 0 else "OUT_OF_ORDER_SEQUENCE_NUMBER"
        for first, last, offset in self.batches[-5:]:
            if (first, last) == (header.base_sequence, header.last_sequence):
                return (offset, offset + header.last_offset_delta)
        follows = (self.batches[-1][1] + 1) % (MAX + 1)
        return "ok" if header.base_sequence == follows else "OUT_OF_ORDER_SEQUENCE_NUMBER"


@settings(max_examples=200, deadline=None)
@given(
    start=st.sampled_from([0, 3, MAX - 8]),
    sent=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(-14, 3), st.integers(1, 3)), max_size=80),
)
def test_producers_are_judged_as_by_kafkas_rules_over_the_whole_history(
    start: int, sent: list[tuple[int, int, int, int]]
) -> None:
    sender = Sender()
    naive = {0: NaiveProducer(), 1: NaiveProducer()}
    for producer, epoch, step, records in sent:
        known = naive[producer]
        expected = (known.batches[-1][1] + 1) if known.batches else start
        sequence = (
            0 if epoch > known.epoch >= 0 and step % 2 else (expected + min(step, 0 if step != 3 else 1)) % (MAX + 1)
        )
        header = idempotent(producer, sequence, records, epoch)
        verdict, end = known.judge(header), sender.end
        assert sender.send(header) == verdict
        if verdict == "ok":
            if epoch != known.epoch:
                known.epoch, known.batches = epoch, []
            known.batches.append((sequence, header.last_sequence, end))
