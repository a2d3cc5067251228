"""The write-ahead log is lost, exchanged or put back in time: nothing goes on until somebody accepts the loss."""

import shutil
from pathlib import Path

import pytest
from process.load import make_topic, produce, read_back
from process.refusals import refusal
from twins.broker_process import BrokerProcess
from twins.child_process import wait_until

SETTINGS = {"s3.wal.capacity": str(64 << 20)}


def wal_of(broker: BrokerProcess) -> Path:
    return broker.directory / "data" / "wal" / "wal.bin"


def crashed(tmp_path: Path) -> BrokerProcess:
    """A broker that was killed with 3 records uploaded and 2 more in its log alone."""
    broker = BrokerProcess(tmp_path, settings=SETTINGS)
    broker.start()
    make_topic(broker.bootstrap, "orders")
    assert len(produce(broker.bootstrap, "orders", [b"1", b"2", b"3"])) == 3
    broker.stop()
    broker.start()
    assert len(produce(broker.bootstrap, "orders", [b"4", b"5"])) == 2
    broker.kill()
    return broker


def accept_loss(broker: BrokerProcess) -> str:
    accepting = BrokerProcess(broker.directory, settings=SETTINGS, arguments=["--accept-wal-loss"])
    accepting.port, accepting.admin_port, accepting.bootstrap = broker.port, broker.admin_port, broker.bootstrap
    accepting.start()
    assert accepting.process is not None
    log = accepting.process.log()
    assert produce(accepting.bootstrap, "orders", [b"6"]) == [b"6"]
    assert read_back(accepting.bootstrap, "orders", 4) == [b"1", b"2", b"3", b"6"]
    accepting.stop()
    return log


@pytest.mark.parametrize("how", ["deleted", "recreated"])
def test_a_lost_log_is_refused_with_what_it_costs_and_accepted_only_when_told(tmp_path: Path, how: str) -> None:
    broker = crashed(tmp_path)
    wal_of(broker).unlink()
    if how == "recreated":
        wal_of(broker).with_name("wal.bin.id").unlink()
    line = refusal(broker)
    assert "orders-0" in line
    assert "at 3" in line
    assert "--accept-wal-loss" in line
    log = accept_loss(broker)
    assert "the loss of the write-ahead log was accepted" in log
    assert "orders-0" in log
    assert "at 3" in log


def test_a_copy_in_the_place_of_the_log_is_refused(tmp_path: Path) -> None:
    broker = crashed(tmp_path)
    wal = wal_of(broker)
    shutil.copy(wal, tmp_path / "copy")
    (tmp_path / "copy").replace(wal)
    line = refusal(broker)
    assert "orders-0" in line


def test_an_old_state_written_back_into_the_log_is_refused_as_rolled_back(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings=SETTINGS)
    broker.start()
    make_topic(broker.bootstrap, "orders")
    broker.stop()
    old = wal_of(broker).read_bytes()
    for value in (b"1", b"2"):
        broker.start()
        produce(broker.bootstrap, "orders", [value])
        broker.kill()
    with wal_of(broker).open("r+b") as wal:
        wal.write(old)
    assert "rolled back" in refusal(broker)


def test_the_volume_is_known_by_an_identity_outside_the_file(tmp_path: Path) -> None:
    broker = crashed(tmp_path)
    wal_of(broker).with_name("wal.bin.id").write_text("0" * 32 + "\n")
    assert "orders-0" in refusal(broker)


def test_the_right_log_recovers_everything(tmp_path: Path) -> None:
    broker = crashed(tmp_path)
    broker.start()
    wait_until(broker.is_ready, 10, "it serves")
    assert read_back(broker.bootstrap, "orders", 5) == [b"1", b"2", b"3", b"4", b"5"]
    broker.stop()
