"""Against a real S3 server: AutoMQ's way to write a bucket, TLS, a restart on it, a server that goes away under load."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from process.load import make_topic, produce, read_back
from process.refusals import refusal
from twins.broker_process import BrokerProcess
from twins.certificates import Authority
from twins.child_process import wait_until
from twins.seaweed import ACCESS_KEY, SECRET_KEY, SeaweedServer, seaweed
from twins.tls_forwarder import tls_forwarder

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


def broker_on(server: SeaweedServer, directory: Path, **settings: str) -> BrokerProcess:
    uri = f"0@s3://{server.make_bucket()}?region=us-east-1&pathStyle=true&endpoint={quote(server.endpoint, safe=':/')}"
    small = {"s3.wal.capacity": str(64 << 20), "s3.wal.upload.threshold": str(8 << 20)}
    return BrokerProcess(directory, bucket=uri, settings=small | settings, environment=ENVIRONMENT)


def test_records_reach_the_bucket_and_come_back_after_a_restart_without_the_log(
    tmp_path: Path, server: SeaweedServer
) -> None:
    broker = broker_on(server, tmp_path)
    broker.start()
    make_topic(broker.bootstrap, "t")
    sent = [os.urandom(50_000) for _ in range(600)]
    assert produce(broker.bootstrap, "t", sent) == sent
    broker.stop()
    (tmp_path / "data" / "wal" / "wal.bin").unlink()
    (tmp_path / "data" / "wal" / "wal.bin.id").unlink()
    broker.start()
    assert read_back(broker.bootstrap, "t", len(sent)) == sent
    broker.stop()


def test_a_server_that_stands_still_under_load_costs_nothing(tmp_path: Path, server: SeaweedServer) -> None:
    broker = broker_on(server, tmp_path)
    broker.start()
    make_topic(broker.bootstrap, "t")
    sent = [os.urandom(50_000) for _ in range(2000)]  # more than the log holds
    acked: list[bytes] = []
    load = threading.Thread(target=lambda: acked.extend(produce(broker.bootstrap, "t", sent)))
    os.kill(server.pid, signal.SIGSTOP)
    try:
        load.start()
        wait_until(lambda: "write-ahead log is full" in broker.readiness(), 40, "producers are held back")
        assert broker.alive() == 200
    finally:
        os.kill(server.pid, signal.SIGCONT)
    load.join(60)
    assert acked == sent
    assert read_back(broker.bootstrap, "t", len(sent)) == sent
    broker.stop()


@pytest.mark.parametrize("way", ["in the URI", "in AWS's own variable"])
def test_a_store_with_a_certificate_of_ones_own_authority_works_once_that_is_trusted(
    tmp_path: Path, server: SeaweedServer, way: str
) -> None:
    authority = Authority(tmp_path, "ca")
    with tls_forwarder(authority.issue("s3"), urlsplit(server.endpoint).port or 0) as port:
        uri = f"s3://{server.make_bucket()}?region=us-east-1&pathStyle=true&endpoint=https://localhost:{port}"
        bundle = authority.file
        if way == "in the URI":
            uri, bundle = f"{uri}&caFile={authority.file}", Authority(tmp_path, "other").file
        settings = {"s3.wal.capacity": str(64 << 20)}
        environment = ENVIRONMENT | {"AWS_CA_BUNDLE": str(bundle)}
        broker = BrokerProcess(tmp_path, bucket=uri, settings=settings, environment=environment)
        broker.start()
        make_topic(broker.bootstrap, "t")
        sent = [os.urandom(50_000) for _ in range(100)]
        assert produce(broker.bootstrap, "t", sent) == sent
        broker.stop()
        broker.start()
        assert read_back(broker.bootstrap, "t", len(sent)) == sent
        broker.stop()


def test_a_store_whose_certificate_nobody_trusts_is_refused_in_one_line(tmp_path: Path, server: SeaweedServer) -> None:
    with tls_forwarder(Authority(tmp_path, "ca").issue("s3"), urlsplit(server.endpoint).port or 0) as port:
        uri = f"s3://{server.make_bucket()}?region=us-east-1&pathStyle=true&endpoint=https://localhost:{port}"
        line = refusal(BrokerProcess(tmp_path, bucket=uri, environment=ENVIRONMENT))
        assert "certificate" in line.lower()
        assert "caFile" in line


def test_a_bundle_of_authorities_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"AWS_CA_BUNDLE": str(tmp_path / "none.pem")}
    line = refusal(BrokerProcess(tmp_path, bucket="s3://bucket?endpoint=https://localhost:1", environment=environment))
    assert "none.pem" in line
    assert "no such file" in line
