"""How it starts, says where things are, and ends: first signal, second signal, a bucket that does not take the flush."""

import json
import os
import re
import signal
import threading
from pathlib import Path

from automq_broker.wal.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_POSITIONS, Superblock, newest_superblock
from process.load import make_topic, produce, read_back
from twins.broker_process import BrokerProcess
from twins.child_process import ChildProcess, wait_until
from twins.faulty_s3 import SLOW_DOWN, faulty_s3

SETTINGS = {"s3.wal.capacity": str(64 << 20)}


def superblock_of(broker: BrokerProcess) -> Superblock:
    with (broker.directory / "data" / "wal" / "wal.bin").open("rb") as wal:
        pages = []
        for position in SUPERBLOCK_POSITIONS:
            wal.seek(position)
            pages.append(wal.read(SUPERBLOCK_BYTES))
    found = newest_superblock(*pages)
    assert found is not None
    return found


def signalled(broker: BrokerProcess, which: signal.Signals) -> ChildProcess:
    assert broker.process is not None
    os.kill(broker.process.pid, which)
    return broker.process


def test_the_banner_names_port_admin_page_bucket_and_log(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings=SETTINGS)
    broker.start()
    assert broker.process is not None
    lines = broker.process.log().splitlines()
    assert f"Kafka    {broker.bootstrap} (PLAINTEXT)" in lines
    assert f"Admin    http://127.0.0.1:{broker.admin_port}" in lines
    assert f"Bucket   {tmp_path / 'data' / 'bucket'}" in lines
    assert f"WAL      {tmp_path / 'data' / 'wal' / 'wal.bin'}" in lines
    broker.stop()


def test_ctrl_c_stops_an_idle_broker_with_0_and_a_clean_log(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings=SETTINGS)
    broker.start()
    make_topic(broker.bootstrap, "t")
    assert produce(broker.bootstrap, "t", [b"a"]) == [b"a"]
    assert not superblock_of(broker).is_clean
    process = signalled(broker, signal.SIGINT)
    wait_until(lambda: not process.is_running, 20, "it ends")
    assert process.exit_code == 0
    found = superblock_of(broker)
    assert found.is_clean
    assert found.trim_lsn == found.durable_lsn
    # An idle broker owes nothing, so it must not have waited for anything: no second passed with bytes left.
    assert "flushing" not in process.log()


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    with faulty_s3() as s3:
        s3.refuse = SLOW_DOWN
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=SETTINGS, environment=s3.environment)
        process = broker.spawn()
        wait_until(lambda: "the bucket does not answer" in broker.readiness(), 20, "it says what it waits for")
        assert broker.alive() == 200
        assert "503" in process.log()
        assert broker.terminate() == 0


def test_a_bucket_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    with faulty_s3() as s3:
        s3.refuse = SLOW_DOWN
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=SETTINGS, environment=s3.environment)
        broker.spawn()
        wait_until(lambda: "the bucket does not answer" in broker.readiness(), 20, "it says what it waits for")
        s3.refuse = None
        wait_until(broker.is_ready, 20, "it serves")
        broker.stop()


def test_a_slow_flush_says_what_is_left_and_a_second_signal_forces_the_exit(tmp_path: Path) -> None:
    with faulty_s3() as s3:
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=SETTINGS, environment=s3.environment)
        broker.start()
        make_topic(broker.bootstrap, "t")
        sent = [os.urandom(5000) for _ in range(400)]
        assert len(produce(broker.bootstrap, "t", sent)) == len(sent)
        s3.upload_bytes_per_s = 100_000
        process = signalled(broker, signal.SIGTERM)
        wait_until(lambda: "flushing bytes_left=" in process.log(), 10, "it says how many bytes are left")
        left = re.search(r"flushing bytes_left=(\d+)", process.log())
        assert left is not None
        assert int(left[1]) >= sum(map(len, sent)) // 2
        signalled(broker, signal.SIGTERM)
        wait_until(lambda: not process.is_running, 10, "the second signal ends it")
        assert process.exit_code == 130
        s3.upload_bytes_per_s = 0
        broker.start()
        assert read_back(broker.bootstrap, "t", len(sent)) == sent
        broker.stop()


def test_a_stop_ends_in_time_although_the_bucket_is_away_and_loses_nothing(tmp_path: Path) -> None:
    with faulty_s3() as s3:
        settings = {**SETTINGS, "automq.shutdown.timeout.ms": "1500"}
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=settings, environment=s3.environment)
        broker.start()
        make_topic(broker.bootstrap, "t")
        assert produce(broker.bootstrap, "t", [b"a", b"b"]) == [b"a", b"b"]
        s3.refuse = SLOW_DOWN
        process = signalled(broker, signal.SIGTERM)
        wait_until(lambda: not process.is_running, 20, "it ends")
        assert process.exit_code == 1
        told = re.search(r"stopped after ([\d.]+) s with \d+ bytes to upload; they are safe in the WAL", process.log())
        assert told is not None
        assert float(told[1]) < 1.5, "the process itself takes a moment to end, which is part of the limit"
        s3.refuse = None
        broker.start()
        assert read_back(broker.bootstrap, "t", 2) == [b"a", b"b"]
        broker.stop()


def test_sigterm_under_load_loses_nothing(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings=SETTINGS)
    broker.start()
    make_topic(broker.bootstrap, "t")
    sent = [b"%06d" % number + b"x" * 1000 for number in range(20_000)]
    acked: list[bytes] = []
    load = threading.Thread(target=lambda: acked.extend(produce(broker.bootstrap, "t", sent)))
    load.start()
    wait_until(lambda: broker.status()["wal"]["batches"] > 5, 20, "the load has begun")
    assert broker.terminate() == 0
    broker.start()
    load.join()
    assert acked == sent
    assert read_back(broker.bootstrap, "t", len(sent)) == sent
    broker.stop()


def test_logs_are_json_lines_without_payloads_and_secrets(tmp_path: Path) -> None:
    payload, key = b"payload-that-no-log-may-show", b"key-that-no-log-may-show"
    with faulty_s3() as s3:
        settings = {**SETTINGS, "automq.log.format": "json", "automq.log.level": "debug", "automq.slow.request.ms": "1"}
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=settings, environment=s3.environment)
        broker.start()
        make_topic(broker.bootstrap, "t")
        produce(broker.bootstrap, "t", [payload + key] * 100)
        s3.refuse = (403, "AccessDenied")
        wait_until(lambda: "denies access" in broker.readiness(), 20, "denied credentials show in /readyz")
        s3.refuse = None
        wait_until(broker.is_ready, 40, "and go away")
        status = json.dumps(broker.status())
        broker.stop()
        assert broker.process is not None
        log = broker.process.log()
        events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert {"serving", "stopping", "slow request"} <= {event["event"] for event in events}
        slow = next(event for event in events if event["event"] == "slow request")
        assert {"api", "ms", "client_id", "peer", "bytes_in"} <= set(slow)
        for secret in (payload.decode(), key.decode(), *list(s3.environment.values())[:2]):
            assert secret not in log
            assert secret not in status
