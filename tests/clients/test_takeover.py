"""One broker of three is killed under load; `automq adopt` drains its log and the survivors serve its partitions."""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from automq_broker.commands.admin_client import AdminClient
from automq_broker.contract import admin
from automq_broker.contract.adopt import EXIT_CODES, AdoptOutcome, AdoptReport
from automq_broker.kernel.errors import Refused
from clients.confluent import create_topic
from clients.kill_load import Load, compare_with_log
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

PARTITIONS = 6
TOPIC = "load"
TOKEN = "a-token-of-these-tests"
RECORDS_PER_SECOND = 3000


@pytest.fixture
def brokers(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    started = cluster_processes(tmp_path, 3, settings={"automq.admin.token.file": str(token)})
    for broker in started:
        broker.spawn()
    for broker in started:
        assert broker.process is not None
        broker.process.wait_ready(broker.is_ready, 40)
    yield started
    for broker in started:
        if broker.process is not None and broker.process.is_running:
            broker.terminate()


def api_of(broker: BrokerProcess) -> AdminClient:
    return AdminClient([f"http://127.0.0.1:{broker.admin_port}"], token=TOKEN)


def row_of(broker: BrokerProcess, node_id: int) -> admin.Broker:
    (row,) = [row for row in api_of(broker).ask(admin.BROKERS, admin.Brokers).brokers if row.node_id == node_id]
    return row


def rescue(survivor: BrokerProcess, node_id: int) -> int:
    """The epoch for the adopter. Asked again with the same key until there is a controller that grants it."""
    epoch = row_of(survivor, node_id).broker_epoch
    question = admin.RescueRequest(node_id=node_id, broker_epoch=epoch, rescue=uuid.uuid4())
    deadline = time.monotonic() + 60
    while True:
        try:
            return api_of(survivor).ask(admin.RESCUE, admin.RescueGranted, question).broker_epoch
        except Refused:
            if time.monotonic() > deadline:
                raise


def command_of(dead: BrokerProcess, epoch: int) -> list[str]:
    """`automq adopt` as an operator would run it."""
    return [
        *(sys.executable, "-m", "automq_broker", "adopt", "--wal", str(dead.directory / "data" / "wal" / "wal.bin")),
        *("--node", dead.settings["node.id"], "--broker-epoch", str(epoch)),
        *("--bucket", str(dead.directory.parent / "bucket")),
        *("--secret-file", dead.settings["automq.inter.broker.secret.file"]),
    ]


def adopt(dead: BrokerProcess, epoch: int, report: Path) -> tuple[int, AdoptReport, str]:
    """Exit code, the report on standard output, and standard error."""
    ended = subprocess.run(
        [*command_of(dead, epoch), "--report", str(report)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stdout, ended.stderr
    return ended.returncode, AdoptReport.model_validate_json(ended.stdout), ended.stderr


def leaders(broker: BrokerProcess) -> dict[int, int]:
    """The broker that has each partition open, -1 for none."""
    page = api_of(broker).ask(admin.PARTITIONS, admin.Partitions)
    return {row.partition: -1 if row.owner is None else row.owner for row in page.partitions if row.topic == TOPIC}


def test_a_killed_brokers_partitions_are_served_by_the_survivors_with_every_acknowledged_record_once(
    brokers, tmp_path, capsys
):
    create_topic(brokers[0].bootstrap, TOPIC, partitions=PARTITIONS)
    holders = [broker for broker in brokers if broker.status()["controller"]["role"] == "holder"]
    dead = next(broker for broker in brokers if broker not in holders)
    node_id = int(dead.settings["node.id"])
    survivor = next(broker for broker in brokers if broker is not dead)
    load = Load(",".join(broker.bootstrap for broker in brokers), TOPIC, PARTITIONS, RECORDS_PER_SECOND)
    load.start()
    try:
        load.wait_acked_beyond(5 * RECORDS_PER_SECOND, 60)
        code, refused, line = adopt(dead, row_of(survivor, node_id).broker_epoch, tmp_path / "early.json")
        assert code == EXIT_CODES[AdoptOutcome.NOT_PROVEN_DEAD]
        assert refused.outcome is AdoptOutcome.NOT_PROVEN_DEAD
        assert line.strip().splitlines()[-1].startswith("automq: not proven dead: ")
        assert "Traceback" not in line

        dead.kill()
        killed_at = time.monotonic()
        epoch = rescue(survivor, node_id)
        granted_at = time.monotonic()
        code, report, line = adopt(dead, epoch, tmp_path / "report.json")
        adopted_at = time.monotonic()
        assert (code, report.outcome) == (0, AdoptOutcome.DRAINED), line
        assert report.streams_closed == 2
        assert report.bytes_uploaded > 0
        wait_until(
            lambda: node_id not in leaders(survivor).values() and -1 not in leaders(survivor).values(), 20, "open"
        )
        opened_at = time.monotonic()
        load.wait_acked_beyond(len(load.acked) + RECORDS_PER_SECOND, 60)
    finally:
        load.finish()
    assert load.failures == []
    assert compare_with_log(load) == ""
    assert len(load.acked) == load.sent
    assert AdoptReport.model_validate_json((tmp_path / "report.json").read_text()) == report
    with capsys.disabled():
        print(
            f"\nrescue {granted_at - killed_at:.2f} s, adopter {adopted_at - granted_at:.2f} s {report.seconds}, "
            f"{report.batches} batches, {report.bytes_uploaded} bytes, served again {opened_at - adopted_at:.2f} s later"
        )
    assert row_of(survivor, node_id).is_clean
    assert adopt(dead, epoch, tmp_path / "again.json")[0] == 0, "once more changes nothing"
    dead.start(40)
    assert row_of(survivor, node_id).status == admin.BrokerStatus.ACTIVE
    assert row_of(survivor, node_id).partitions_open == 0
    code, late, _ = adopt(dead, epoch, tmp_path / "late.json")
    assert (code, late.outcome) == (EXIT_CODES[AdoptOutcome.NOT_PROVEN_DEAD], AdoptOutcome.NOT_PROVEN_DEAD)


def test_an_adopter_that_is_killed_at_any_time_is_run_again_also_when_the_dead_broker_was_the_controller(
    brokers, tmp_path
):
    create_topic(brokers[0].bootstrap, TOPIC, partitions=PARTITIONS)
    (dead,) = [broker for broker in brokers if broker.status()["controller"]["role"] == "holder"]
    node_id = int(dead.settings["node.id"])
    survivor = next(broker for broker in brokers if broker is not dead)
    load = Load(",".join(broker.bootstrap for broker in brokers), TOPIC, PARTITIONS, RECORDS_PER_SECOND)
    load.start()
    try:
        load.wait_acked_beyond(3 * RECORDS_PER_SECOND, 60)
        dead.kill()
        epoch = rescue(survivor, node_id)
        code = None
        for delay_s in (0.3, 0.6, 0.9, 1.2, 1.5):
            with subprocess.Popen(command_of(dead, epoch), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
                try:
                    code = run.wait(delay_s)
                except subprocess.TimeoutExpired:
                    run.kill()
        code, report, line = adopt(dead, epoch, tmp_path / "report.json")
        assert (code, report.outcome) == (0, AdoptOutcome.DRAINED), line
        load.wait_acked_beyond(len(load.acked) + 2 * RECORDS_PER_SECOND, 60)
    finally:
        load.finish()
    assert load.failures == []
    assert compare_with_log(load) == ""
    dead.start(40)


def test_a_broker_that_is_told_to_stop_hands_its_partitions_over_and_gets_none_back_at_once(brokers):
    create_topic(brokers[0].bootstrap, TOPIC, partitions=PARTITIONS)
    leaving, survivor = brokers[2], brokers[0]
    node_id = int(leaving.settings["node.id"])
    load = Load(",".join(broker.bootstrap for broker in brokers), TOPIC, PARTITIONS, RECORDS_PER_SECOND)
    load.start()
    try:
        load.wait_acked_beyond(2 * RECORDS_PER_SECOND, 60)
        assert leaving.terminate() == 0
        wait_until(lambda: set(leaders(survivor).values()) == {1, 2}, 10, "the others serve its partitions")
        load.wait_acked_beyond(len(load.acked) + RECORDS_PER_SECOND, 60)
        leaving.start(40)
        assert row_of(survivor, node_id).partitions_open == 0
    finally:
        load.finish()
    assert load.failures == []
    assert compare_with_log(load) == ""
