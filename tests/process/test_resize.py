"""Another `s3.wal.capacity`: taken at the start after an orderly stop, refused where the volume has no room for it."""

import os
from pathlib import Path

from process.load import families, make_topic, produce, read_back
from process.refusals import refusal
from twins.broker_process import BrokerProcess

MIB = 1 << 20


def sizes(broker: BrokerProcess) -> tuple[int, int]:
    """Of the file and of the ring, in whole MiB."""
    file = (broker.directory / "data" / "wal" / "wal.bin").stat().st_size
    return file // MIB, round(families(broker.metrics())["automq_wal_capacity_bytes"][0][1] / MIB)


def test_the_log_grows_and_shrinks_at_a_start_after_an_orderly_stop(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings={"s3.wal.capacity": str(64 * MIB)})
    sent: list[bytes] = []
    for capacity in (64, 160, 96):
        broker.settings["s3.wal.capacity"] = str(capacity * MIB)
        broker.start()
        assert sizes(broker) == (capacity, capacity - 1)
        if not sent:
            make_topic(broker.bootstrap, "t")
        new = [os.urandom(100_000) for _ in range(800)]  # 80 MB: behind the old end of the ring
        assert produce(broker.bootstrap, "t", new) == new
        sent += new
        broker.stop()
    broker.start()
    assert read_back(broker.bootstrap, "t", len(sent)) == sent
    broker.stop()


def test_after_a_crash_the_log_keeps_its_size_once_more_and_says_so(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings={"s3.wal.capacity": str(64 * MIB)})
    broker.start()
    make_topic(broker.bootstrap, "t")
    assert produce(broker.bootstrap, "t", [b"1"]) == [b"1"]
    broker.kill()
    broker.settings["s3.wal.capacity"] = str(96 * MIB)
    broker.start()
    assert broker.process is not None
    assert "keeps its size until a start after an orderly stop" in broker.process.log()
    assert sizes(broker) == (64, 63)
    broker.stop()
    broker.start()
    assert sizes(broker) == (96, 95)
    assert read_back(broker.bootstrap, "t", 1) == [b"1"]
    broker.stop()


def test_a_size_that_the_volume_cannot_hold_is_refused_and_the_old_one_still_works(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings={"s3.wal.capacity": str(64 * MIB)})
    broker.start()
    broker.stop()
    broker.settings["s3.wal.capacity"] = str(1 << 50)
    assert "no room" in refusal(broker)
    broker.settings["s3.wal.capacity"] = str(64 * MIB)
    broker.start()
    assert sizes(broker) == (64, 63)
    broker.stop()
