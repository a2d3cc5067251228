"""Real brokers whose write-ahead log lies in SeaweedFS: killed under load, taken over without a volume, switched to a disk."""

import json
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest
from automq_broker.commands.admin_client import AdminClient
from automq_broker.contract import admin
from automq_broker.contract.adopt import AdoptOutcome, AdoptReport
from clients.broker_under_test import SETTINGS
from clients.confluent import create_topic
from clients.kill_load import Load, compare_with_log
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until
from twins.seaweed import SeaweedServer, seaweed

KILLS = 10
PARTITIONS = 6
RECORDS_PER_SECOND = 3000
TOKEN = "a-token-of-these-tests"
DISKLESS = {
    "s3.wal.path": "s3",
    "s3.wal.capacity": str(64 << 20),
    "s3.wal.upload.threshold": str(4 << 20),
    "s3.wal.upload.interval.ms": "1500",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[SeaweedServer]:
    with seaweed(tmp_path_factory.mktemp("weed")) as server, server.environment():
        yield server


def automq(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "automq_broker", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_acked_record_survives_kill_9_under_load_exactly_once(store, tmp_path, capsys):
    chance = random.Random(20)
    broker = BrokerProcess(tmp_path, bucket=store.uri(prefix="loop"), settings={**SETTINGS, **DISKLESS})
    broker.start()
    create_topic(broker.bootstrap, "killed", partitions=4)
    load = Load(bootstrap=broker.bootstrap, topic="killed", partitions=4, records_per_second=RECORDS_PER_SECOND)
    load.start()
    recoveries_s: list[float] = []
    try:
        for _ in range(KILLS):
            load.wait_acked_beyond(len(load.acked) + 100, timeout_s=30)
            time.sleep(chance.uniform(0.05, 3))
            broker.kill()
            shutil.rmtree(tmp_path / "data", ignore_errors=True)  # nothing on this machine matters
            started = time.monotonic()
            acked_before = len(load.acked)
            broker.start()
            load.wait_acked_beyond(acked_before, timeout_s=30)
            recoveries_s.append(time.monotonic() - started)
        load.finish()
        assert load.failures == []
        assert compare_with_log(load) == ""
    finally:
        broker.stop()
    recoveries_s.sort()
    with capsys.disabled():
        print(
            f"\n{KILLS} kills, {len(load.acked)} of {load.sent} records acked and read back; exec to first new ack: "
            f"median {recoveries_s[len(recoveries_s) // 2]:.2f} s, worst {recoveries_s[-1]:.2f} s"
        )


@pytest.fixture
def brokers(store, tmp_path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    settings = {"automq.admin.token.file": str(token), "s3.wal.path": "s3"}
    started = cluster_processes(tmp_path, 3, bucket=store.uri(prefix="takeover"), settings=settings)
    for broker in started:
        broker.spawn()
    for broker in started:
        assert broker.process is not None
        broker.process.wait_ready(broker.is_ready, 40)
    yield started
    for broker in started:
        if broker.process is not None and broker.process.is_running:
            broker.terminate()


def test_a_killed_brokers_partitions_are_served_by_the_survivors_and_no_volume_is_needed(
    store, brokers, tmp_path, capsys
):
    create_topic(brokers[0].bootstrap, "load", partitions=PARTITIONS)
    dead, survivor = brokers[1], brokers[0]
    node_id = int(dead.settings["node.id"])
    api = AdminClient([f"http://127.0.0.1:{survivor.admin_port}"], token=TOKEN)
    load = Load(",".join(broker.bootstrap for broker in brokers), "load", PARTITIONS, RECORDS_PER_SECOND)
    load.start()
    try:
        load.wait_acked_beyond(3 * RECORDS_PER_SECOND, 60)
        dead.kill()
        shutil.rmtree(dead.directory / "data", ignore_errors=True)
        killed_at = time.monotonic()
        (row,) = [row for row in api.ask(admin.BROKERS, admin.Brokers).brokers if row.node_id == node_id]
        question = admin.RescueRequest(node_id=node_id, broker_epoch=row.broker_epoch, rescue=uuid.uuid4())
        epoch = api.ask(admin.RESCUE, admin.RescueGranted, question).broker_epoch
        ended = automq(
            *("adopt", "--wal", "s3", "--node", str(node_id), "--broker-epoch", str(epoch)),
            *("--bucket", store.uri(prefix="takeover")),
            *("--secret-file", dead.settings["automq.inter.broker.secret.file"]),
        )
        adopted_at = time.monotonic()
        assert ended.returncode == 0, ended.stderr
        report = AdoptReport.model_validate_json(ended.stdout)
        assert (report.outcome, report.streams_closed) == (AdoptOutcome.DRAINED, 2)
        assert report.bytes_uploaded > 0

        def owners() -> set[int | None]:
            return {row.owner for row in api.ask(admin.PARTITIONS, admin.Partitions).partitions if row.topic == "load"}

        wait_until(lambda: owners() <= {1, 3}, 20, "the survivors open the partitions")
        load.wait_acked_beyond(len(load.acked) + RECORDS_PER_SECOND, 60)
    finally:
        load.finish()
    assert load.failures == []
    assert compare_with_log(load) == ""
    with capsys.disabled():
        print(f"\nkill to drained {adopted_at - killed_at:.2f} s {report.seconds}, {report.bytes_uploaded} bytes")
    dead.start(40)


def test_the_kind_of_log_is_changed_after_an_orderly_stop_and_refused_with_one_line_otherwise(store, tmp_path):
    broker = BrokerProcess(tmp_path, bucket=store.uri(prefix="kinds"), settings={**SETTINGS, **DISKLESS})
    broker.settings["s3.wal.upload.interval.ms"] = "600000"
    broker.start()
    create_topic(broker.bootstrap, "kinds", partitions=4)
    load = Load(bootstrap=broker.bootstrap, topic="kinds", partitions=4, records_per_second=500)
    load.start()
    load.wait_acked_beyond(500, timeout_s=30)
    for wal in (str(tmp_path / "wal.bin"), "s3"):
        broker.kill()
        before, broker.settings["s3.wal.path"] = broker.settings["s3.wal.path"], wal
        refused = broker.spawn()
        wait_until(lambda refused=refused: not refused.is_running, 30, "the start is refused")
        line = refused.log().strip().splitlines()[-1]
        assert line.startswith("automq: "), line
        assert "open streams whose tail may lie on WAL volume" in line
        assert "Bring that volume back" in line
        broker.settings["s3.wal.path"] = before
        broker.start()
        assert broker.terminate() == 0
        broker.settings["s3.wal.path"] = wal
        broker.start()
        load.wait_acked_beyond(len(load.acked) + 500, timeout_s=60)
    load.finish()
    assert load.failures == []
    assert compare_with_log(load) == ""
    broker.stop()


def test_the_log_in_a_bucket_is_inspected_beside_its_broker(store, tmp_path):
    uri = store.uri(prefix="inspected")
    broker = BrokerProcess(tmp_path, bucket=uri, settings={**SETTINGS, "s3.wal.path": "s3"})
    broker.start()
    create_topic(broker.bootstrap, "seen", partitions=1)
    load = Load(bootstrap=broker.bootstrap, topic="seen", partitions=1, records_per_second=500)
    load.start()
    load.wait_acked_beyond(500, timeout_s=30)
    load.finish()
    seen = automq("wal", "inspect", uri, "--node", "0", "--json")
    assert seen.returncode == 0, seen.stderr
    report = json.loads(seen.stdout)
    assert report["newest"]["node_id"] == 0
    assert report["records"] > 0
    assert report["damage"] is None
    assert [log["epoch"] for log in report["logs"]] == [1]
    assert report["logs"][0]["bulks"] > 0
    assert "bulks" in automq("wal", "inspect", uri, "--node", "0").stdout
    missing = automq("wal", "inspect", uri, "--node", "5")
    assert missing.returncode == 1
    assert missing.stderr.strip() == "automq: the bucket holds no write-ahead log of node 5"
    broker.stop()
