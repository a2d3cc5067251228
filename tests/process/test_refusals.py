"""Starts that are refused with one clear line, each by the real process."""

import re
import socket
import uuid
from pathlib import Path

import pytest
from automq_broker.meta.head import MAGIC
from process.refusals import refusal
from twins.broker_process import BrokerProcess
from twins.faulty_s3 import BAD_KEY, FORBIDDEN, NO_BUCKET, FaultyS3, faulty_s3

STOCK = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
"""


@pytest.fixture(scope="module")
def s3():
    with faulty_s3() as server:
        yield server


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    with socket.create_server(("127.0.0.1", broker.port)):
        line = refusal(broker)
    assert f"127.0.0.1:{broker.port}" in line
    assert "another process uses the port" in line


def test_an_admin_port_in_use_is_named(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    with socket.create_server(("127.0.0.1", broker.admin_port)):
        line = refusal(broker)
    assert str(broker.admin_port) in line


def test_a_second_process_on_one_data_directory_is_refused_and_the_first_lives_on(tmp_path: Path) -> None:
    first, second = (
        BrokerProcess(tmp_path),
        BrokerProcess(tmp_path / "second", arguments=["--data", str(tmp_path / "data")]),
    )
    first.start()
    assert "another process uses it" in refusal(second)
    assert first.is_ready()
    first.stop()


def test_the_bucket_of_another_cluster_is_refused(tmp_path: Path) -> None:
    mine, other = BrokerProcess(tmp_path / "a"), BrokerProcess(tmp_path / "b")
    for broker in (mine, other):
        broker.start()
        broker.stop()
    mixed = BrokerProcess(tmp_path / "a", bucket=str(tmp_path / "b" / "data" / "bucket"))
    line = refusal(mixed)
    assert "belongs to cluster" in line


def test_a_wal_of_another_node_is_refused(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    broker.start()
    broker.stop()
    broker.settings["node.id"] = "2"
    assert "belongs to node 1" in refusal(broker)


def test_a_newer_head_is_refused_by_name(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    broker.start()
    broker.stop()
    head = tmp_path / "data" / "bucket" / "meta" / "head"
    head.write_bytes(head.read_bytes().replace(f"{MAGIC} 1 ".encode(), f"{MAGIC} 9 ".encode(), 1))
    assert re.search(r"format 9 .*newer", refusal(broker))


def test_a_newer_wal_is_refused_by_name(tmp_path: Path) -> None:
    import struct

    from crc32c import crc32c

    broker = BrokerProcess(tmp_path)
    broker.start()
    broker.stop()
    with (tmp_path / "data" / "wal" / "wal.bin").open("r+b") as wal:
        for position in (0, 512 * 1024):
            wal.seek(position)
            page = bytearray(wal.read(4096))
            struct.pack_into("<I", page, 12, 9)
            struct.pack_into("<I", page, 8, crc32c(page[12:]))
            wal.seek(position)
            wal.write(page)
    assert "format version 9" in refusal(broker)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("nmu.partitions", "3"), ["nmu.partitions", "num.partitions"]),
        (("num.partitions", "0"), ["num.partitions", "0"]),
        (("num.partitions", "many"), ["num.partitions", "many"]),
        (("log.retention.ms", "-7"), ["log.retention.ms", "-7"]),
        (("s3.wal.capacity", "1000"), ["s3.wal.capacity", "1000"]),
        (("listeners", "SSL://127.0.0.1:0"), ["ssl.keystore.location"]),
        (("listeners", "SASL_SSL://127.0.0.1:0"), ["SASL"]),
        (("authorizer.class.name", "org.apache.kafka.X"), ["authorizer.class.name"]),
        (("s3.wal.path", "ftp://x/y"), ["ftp"]),
    ],
)
def test_unknown_names_and_impossible_values_are_named(
    tmp_path: Path, setting: tuple[str, str], words: list[str]
) -> None:
    line = refusal(BrokerProcess(tmp_path, settings=dict([setting])))
    assert all(word in line for word in words), line


def test_a_volume_without_room_is_refused(tmp_path: Path) -> None:
    line = refusal(BrokerProcess(tmp_path, settings={"s3.wal.capacity": str(1 << 50)}))
    assert "no room" in line
    assert "s3.wal.capacity" in line


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be")
    assert "data" in refusal(BrokerProcess(tmp_path))


@pytest.mark.parametrize(
    ("answer", "words"),
    [(BAD_KEY, "InvalidAccessKeyId"), (FORBIDDEN, "AccessDenied"), (NO_BUCKET, "NoSuchBucket")],
)
def test_a_bucket_that_denies_access_is_refused_with_its_reason(
    tmp_path: Path, s3: FaultyS3, answer: tuple[int, str], words: str
) -> None:
    s3.refuse = answer
    line = refusal(BrokerProcess(tmp_path, bucket=s3.uri(prefix=uuid.uuid4().hex), environment=s3.environment))
    s3.refuse = None
    assert words in line
    assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in line
    assert s3.environment["AWS_ACCESS_KEY_ID"] not in line


def test_a_store_that_ignores_conditions_is_refused(tmp_path: Path, s3: FaultyS3) -> None:
    s3.ignores_conditions = True
    line = refusal(BrokerProcess(tmp_path, bucket=s3.uri(prefix=uuid.uuid4().hex), environment=s3.environment))
    s3.ignores_conditions = False
    assert "ignores If-None-Match" in line


def test_missing_credentials_are_named(tmp_path: Path, s3: FaultyS3) -> None:
    environment = {**s3.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    assert "credentials" in refusal(BrokerProcess(tmp_path, bucket=s3.uri(), environment=environment)).lower()


def test_a_stock_properties_file_of_kafka_starts_and_says_what_it_ignores(tmp_path: Path) -> None:
    stock = tmp_path / "server.properties"
    stock.write_text(STOCK)
    broker = BrokerProcess(tmp_path, arguments=["--config", str(stock), "--set", "advertised.listeners="])
    broker.start()
    log = broker.process.log() if broker.process else ""
    for key in ("log.dirs", "num.network.threads", "controller.quorum.bootstrap.servers", "log.segment.bytes"):
        assert re.search(rf"ignored setting key={re.escape(key)} reason=", log), log
    broker.stop()
