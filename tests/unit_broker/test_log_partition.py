"""One partition's offsets and watermarks, and what replay makes of them."""

from typing import Any

import pytest
from automq_broker.kernel.errors import Bug, ClientFault, Corrupt, Refused
from automq_broker.kernel.ids import Offset
from automq_broker.log.admission import LogSettings, check_field
from automq_broker.log.partition import Accepted, Duplicate, PartitionLog
from automq_broker.log.producer import BatchSeen
from automq_broker.log.record_faults import check_records
from automq_broker.log.timestamps import first_record_at_or_after
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import (
    BatchHeader,
    Record,
    crc_is_valid,
    decode_records,
    encode_batch,
    iter_glances,
    read_batch_header,
    stamp,
    stamp_log_append_time,
    unfold,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.batch_headers import idempotent, plain, stored

NOW = 1_000_000


def new_log(end: int = 0, start: int = 0, *, has_checkpoint: bool = False, **log_settings: Any) -> PartitionLog:
    return PartitionLog(
        stream_id=1,
        leader_epoch=3,
        start_offset=start,
        end_offset=end,
        settings=LogSettings(**log_settings),
        has_checkpoint=has_checkpoint,
    )


def prepare(log: PartitionLog, header: BatchHeader, now_ms: int = NOW) -> Accepted | Duplicate:
    return log.prepare(header, now_ms)


def state_of(log: PartitionLog) -> bytes:
    return log.producers.snapshot(log.end_offset)


def fault_of(log: PartitionLog, header: BatchHeader) -> ErrorCode:
    with pytest.raises(ClientFault) as caught:
        prepare(log, header)
    return ErrorCode(caught.value.code)


def test_batches_get_consecutive_offsets_before_they_are_durable() -> None:
    log = new_log(100)
    assert prepare(log, plain(3)) == Accepted(100, 102, -1)
    assert prepare(log, plain(1)) == Accepted(103, 103, -1)
    assert (log.end_offset, log.high_watermark, log.last_stable_offset) == (104, 100, 100)
    assert log.durable_to(103)
    assert not log.durable_to(102)
    assert not log.durable_to(103)
    assert (log.high_watermark, log.last_stable_offset) == (103, 103)
    assert log.durable_to(104)
    assert log.high_watermark == log.end_offset
    log.check()


def test_append_time_topics_answer_the_brokers_time_and_remember_it_for_retries() -> None:
    log = new_log(timestamp_type="LogAppendTime")
    batch = idempotent(9, 0, max_timestamp=5)
    assert prepare(log, batch, 777) == Accepted(0, 0, 777)
    assert prepare(log, batch, 999) == Duplicate(0, 0, 777)


def test_a_retry_on_a_create_time_topic_answers_the_batchs_max_timestamp_as_kafka_does() -> None:
    log = new_log(50)
    batch = idempotent(9, 0, 4, max_timestamp=NOW - 3)
    assert prepare(log, batch) == Accepted(50, 53, -1)
    assert prepare(log, batch) == Duplicate(50, 53, NOW - 3)
    assert log.end_offset == 54
    assert log.statistics().duplicates == 1


def test_a_refused_batch_changes_nothing() -> None:
    log = new_log()
    prepare(log, idempotent(9, 0))
    before = state_of(log)
    assert fault_of(log, idempotent(9, 5)) is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert fault_of(log, plain(records_count=0)) is ErrorCode.INVALID_RECORD
    assert state_of(log) == before


def test_watermarks_beyond_the_log_are_bugs() -> None:
    log = new_log(10)
    with pytest.raises(Bug):
        log.durable_to(11)
    with pytest.raises(Bug):
        log.advance_start(11)
    with pytest.raises(Bug):
        new_log(5, start=6)


def test_the_start_only_moves_forward() -> None:
    log = new_log(10)
    assert log.advance_start(4)
    assert not log.advance_start(3)
    assert log.start_offset == 4
    assert log.advance_start(10)
    assert log.start_offset == 10


def test_delete_records_means_offsets_up_to_the_high_watermark() -> None:
    log = new_log(10, start=4)
    prepare(log, plain(5))
    assert log.delete_before(-1) == 10
    assert log.delete_before(10) == 10
    assert log.delete_before(7) == 7
    assert log.delete_before(0) == 4
    assert log.delete_before(2) == 4
    for wrong in (11, -2):
        with pytest.raises(ClientFault) as caught:
            log.delete_before(wrong)
        assert caught.value.code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_a_fetch_may_ask_from_the_start_to_the_log_end() -> None:
    log = new_log(10, start=4)
    prepare(log, plain(5))
    for offset in (4, 10, 12, 15):
        log.check_fetch_offset(offset)
    for offset in (3, 16, -1):
        with pytest.raises(ClientFault) as caught:
            log.check_fetch_offset(offset)
        assert caught.value.code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_new_settings_hold_from_the_next_batch_on() -> None:
    log = new_log()
    prepare(log, plain(batch_length=900))
    log.configure(LogSettings(max_message_bytes=500, timestamp_type="LogAppendTime", producer_id_expiration_ms=5))
    assert fault_of(log, plain(batch_length=900)) is ErrorCode.MESSAGE_TOO_LARGE
    assert prepare(log, plain(), 123).append_time_ms == 123
    assert log.producers.expiration_ms == 5
    assert log.settings.max_message_bytes == 500


def test_replay_must_continue_the_log_exactly() -> None:
    log = new_log(10)
    log.replay(stored(plain(3), 10), NOW)
    assert (log.end_offset, log.high_watermark) == (13, 13)
    for offset in (12, 14):
        with pytest.raises(Corrupt, match="follows the log end 13"):
            log.replay(stored(plain(), offset), NOW)


def test_replay_refuses_transactions_which_this_version_cannot_show_correctly() -> None:
    for attributes in (0x10, 0x20, 0x30):
        with pytest.raises(Refused, match="transaction"):
            new_log().replay(plain(attributes=attributes), NOW)


def test_an_idempotent_batch_waits_for_the_checkpoint_and_a_plain_one_does_not() -> None:
    log = new_log(5, has_checkpoint=True)
    assert log.needs_checkpoint(idempotent(0, 0))
    assert log.needs_checkpoint(idempotent(1, 0))
    assert not log.needs_checkpoint(plain())
    prepare(log, plain())
    with pytest.raises(Bug, match="checkpoint"):
        prepare(log, idempotent(1, 0))
    with pytest.raises(Bug, match="checkpoint"):
        state_of(log)
    log.producers.restore(state_of(new_log(5)), 5)
    assert not log.needs_checkpoint(idempotent(1, 0))
    assert prepare(log, idempotent(1, 0)).base_offset == 6


SENT = st.lists(
    st.tuples(st.integers(-1, 2), st.sampled_from("nnnnnnrgf"), st.integers(1, 3), st.integers(0, 50)), max_size=80
)
"""Producer, what it sends (its next batch, a retry, a gap, the first of a new epoch), records, ms since the last."""


def next_of(log: PartitionLog, producer: int, what: str, records: int) -> BatchHeader:
    if producer < 0:
        return plain(records)
    epoch, last = next(
        ((r.producer_epoch, r.last_sequence) for r in log.producers.active() if r[0] == producer), (0, -1)
    )
    if what == "f":
        return idempotent(producer, 0, records, epoch + 1)
    step = {"n": 1, "r": 1 - records, "g": 2}[what]
    return idempotent(producer, max(last + step, 0), records, epoch)


def windows(log: PartitionLog) -> dict[int, tuple[int, list[BatchSeen]]]:
    return {producer_id: (entry.epoch, list(entry.batches())) for producer_id, entry in log.producers.entries()}


@settings(max_examples=300, deadline=None)
@given(
    sent=SENT,
    taken=st.integers(0, 100),
    valid=st.integers(0, 100),
    crash=st.integers(0, 130),
    is_late=st.booleans(),
    log_append_time=st.booleans(),
)
def test_a_checkpoint_taken_while_the_log_goes_on_gives_back_the_state_after_any_crash(
    sent: list[tuple[int, str, int, int]], taken: int, valid: int, crash: int, is_late: bool, log_append_time: bool
) -> None:
    timestamp_type = "LogAppendTime" if log_append_time else "CreateTime"
    live = new_log(timestamp_type=timestamp_type)
    kept: list[tuple[BatchHeader, int]] = []
    now, taken_at = NOW, len(sent) * taken // 100
    data, start, taken_end, seen = state_of(live), Offset(0), 0, windows(live)
    for number, (producer, what, records, step) in enumerate(sent):
        if number == taken_at:
            ends = [Offset(0), *(Offset(header.last_offset + 1) for header, _ in kept)]
            start, taken_end = ends[(len(ends) - 1) * valid // 100], live.end_offset
            data, seen = live.producers.snapshot(start), windows(live)
        now += step
        header = next_of(live, producer, what, records)._replace(max_timestamp=NOW - step)
        try:
            answer = prepare(live, header, now)
        except ClientFault:
            continue
        if isinstance(answer, Accepted):
            kept.append((stored(header, answer.base_offset, now if log_append_time else None), now))
        live.check()
    after = [(header, then) for header, then in kept if header.base_offset >= start]
    after = after[: len(after) * crash // 100]
    exact = new_log(timestamp_type=timestamp_type)
    for header, then in [pair for pair in kept if pair[0].base_offset < start] + after:
        exact.replay(header, then)
    back = new_log(start, has_checkpoint=True, timestamp_type=timestamp_type)
    if not is_late:
        back.producers.restore(data, start)
    for header, then in after:
        back.replay(header, then)
    if is_late:
        back.producers.restore(data, start)
    back.check()
    assert back.end_offset == exact.end_offset
    if exact.end_offset >= taken_end:
        assert state_of(back) == state_of(exact)
        assert back.producers.active() == exact.producers.active()
    true = windows(exact)
    for producer_id, (epoch, batches) in windows(back).items():
        assert epoch == true[producer_id][0]
        assert batches == true[producer_id][1][-len(batches) :], "nothing that was lost, nothing out of order"
    for producer_id, (epoch, batches) in seen.items():
        durable = [batch for batch in batches if batch.last_offset < exact.end_offset]
        if exact.end_offset < taken_end and durable:
            assert windows(back)[producer_id] == (epoch, durable[-5:]), "all that its client may still retry"


def test_a_checkpoint_knows_no_batch_above_its_offset() -> None:
    log = new_log()
    for sequence in range(4):
        prepare(log, idempotent(1, sequence))
    prepare(log, idempotent(2, 0))
    back = new_log(2, has_checkpoint=True)
    back.producers.restore(log.producers.snapshot(Offset(2)), Offset(2))
    assert [(row.producer_id, row.last_sequence) for row in back.producers.active()] == [(1, 1)]
    assert prepare(back, idempotent(1, 2)) == Accepted(2, 2, -1), "a batch that the crash lost is new again"


@pytest.mark.parametrize("codec", range(5))
def test_a_real_batch_is_accepted_stamped_and_replayed(codec: int) -> None:
    records = [Record(timestamp=NOW - 5 + i, key=b"k", value=b"v" * 50) for i in range(3)]
    batch = bytearray(encode_batch(records, producer_id=8, producer_epoch=1, base_sequence=0, compression=codec))
    log = new_log(40, timestamp_type="LogAppendTime")
    header = read_batch_header(batch)
    assert check_field(batch) == header
    check_records(iter_glances(*unfold(batch, limit_bytes=10_000, limit_ratio=100)), header, log.settings, NOW)
    answer = prepare(log, header)
    assert answer == Accepted(40, 42, NOW)
    stamp(batch, answer.base_offset, log.leader_epoch)
    stamp_log_append_time(batch, answer.append_time_ms)
    assert crc_is_valid(batch)
    back = new_log(40, timestamp_type="LogAppendTime")
    back.replay(read_batch_header(batch), NOW)
    assert state_of(back) == state_of(log)
    assert prepare(back, header) == Duplicate(40, 42, NOW)
    decoded = decode_records(batch, limit_bytes=10_000, limit_ratio=100)
    assert first_record_at_or_after(decoded, NOW) == (NOW, 40)
