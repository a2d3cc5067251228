"""Every metric of the contract is fed: a load is run, /metrics scraped meanwhile, and a family that never moved fails."""

import shutil
import socket
import struct
import threading
from pathlib import Path

from automq_broker.contract.metrics import METRICS, Kind, Metric
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic
from process.load import make_topic, produce, read_back, watched
from twins.broker_process import BrokerProcess
from twins.child_process import wait_until
from twins.faulty_s3 import SLOW_DOWN, faulty_s3

MIB = 1 << 20
SMALL = {
    "s3.wal.capacity": str(64 * MIB),
    "s3.wal.upload.threshold": str(4 * MIB),
    "s3.wal.upload.interval.ms": "300",
    "s3.wal.cache.size": str(8 * MIB),
    "s3.block.cache.size": str(8 * MIB),
    "queued.max.request.bytes": str(4 * MIB),
}

IN_OUTAGE = {
    "automq_backpressure_state",
    "automq_backpressure_waiting",
    "automq_backpressure_waited_total",
    "automq_backpressure_timed_out_total",
    "automq_bucket_trouble",
    "automq_controller_unknown_outcomes_total",
    "automq_controller_waiting",
}
"""Seen while the bucket is away: see the second test."""

WITH_LOST_OBJECT = {"automq_storage_errors_total"}
"""Seen when an object is gone: see the third test."""

IN_CLUSTER = {
    "automq_balancer_looks_total",
    "automq_balancer_moves_total",
    "automq_controller_sessions",
    "automq_moves_closed_total",
    "automq_moves_waves_total",
}
"""Seen where there are other brokers: see test_balance.py."""

AFTER_A_DEATH = {
    "automq_recovery_stage_seconds_count",
    "automq_recovery_stage_age_seconds",
    "automq_recovery_partitions_left",
}
"""Seen when a broker has died: see tests/cluster/test_up.py."""

RARE = {
    "automq_controller_snapshots_total": "after 1000 commits",
    "automq_group_lag_omitted": "above 20000 rows",
    "automq_partition_end_omitted": "above 20000 rows",
    "automq_moves_waiting": "for less than the pause between two scrapes",
    "automq_balancer_under_way": "the same",
    "automq_balancer_uneven": "while no move helps",
}
"""Not worth minutes of load here; the unit tests of their rooms show them."""


def sample_name(metric: Metric) -> str:
    """The line that shows whether the family moved."""
    return metric.name + ("_count" if metric.kind in (Kind.HISTOGRAM, Kind.SUMMARY) else "")


def values(count: int, size: int = 10_000) -> list[bytes]:
    return [b"%08d" % number + b"x" * (size - 8) for number in range(count)]


def break_rules(port: int) -> None:
    """A request of a version that nobody has: its connection is closed."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(struct.pack(">ihhih", 10, 3, 999, 1, 0))
        assert peer.recv(1) == b""


def knock_from_elsewhere(port: int) -> None:
    """From an address that may have no connection."""
    with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)) as peer:
        assert peer.recv(1) == b""


def hold_memory(port: int, moved: set[str]) -> None:
    """Announce two large requests and send neither: the second one waits for the first one's memory."""
    peers = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    for peer in peers:
        peer.sendall(struct.pack(">i", 3 * MIB) + b"\0" * 100_000)
    wait_until(lambda: "automq_connections_waiting_for_memory" in moved, 10, "somebody waits for memory")
    for peer in peers:
        peer.close()


def test_a_load_moves_every_metric_that_does_not_need_a_fault(tmp_path: Path) -> None:
    settings = {**SMALL, "max.connections.per.ip.overrides": "127.0.0.2:0", "s3.object.block.size": "65536"}
    broker = BrokerProcess(tmp_path, settings=settings)
    broker.start()
    with watched(broker.metrics) as moved:
        make_topic(broker.bootstrap, "t")
        make_topic(broker.bootstrap, "empty")
        sent = values(3000)
        assert len(produce(broker.bootstrap, "t", sent)) == len(sent)
        # The first reading misses the small block cache and pushes out of it, the second one of few records hits it.
        assert read_back(broker.bootstrap, "t", len(sent)) == sent
        for _ in range(2):
            assert read_back(broker.bootstrap, "t", 50) == sent[:50]
        group = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
        group.subscribe(["t"])
        assert len(group.consume(100, 20)) == 100
        group.commit(asynchronous=False)
        group.close()
        assert read_back(broker.bootstrap, "empty", 1, timeout_s=1) == []  # a long poll
        break_rules(broker.port)
        knock_from_elsewhere(broker.port)
        hold_memory(broker.port, moved.names)
        wait_until(lambda: "automq_controller_renewals_total" in moved.names, 10, "the controller renews its seat")
    broker.stop()
    elsewhere = IN_OUTAGE | WITH_LOST_OBJECT | IN_CLUSTER | AFTER_A_DEATH | set(RARE)
    assert {sample_name(metric) for metric in METRICS} - elsewhere - moved.names == set()


def test_an_outage_of_the_bucket_moves_the_metrics_of_back_pressure_and_loses_nothing(tmp_path: Path) -> None:
    with faulty_s3() as s3:
        broker = BrokerProcess(tmp_path, bucket=s3.uri(), settings=SMALL, environment=s3.environment)
        broker.start()
        make_topic(broker.bootstrap, "t")
        sent = values(9000)
        acked: list[bytes] = []

        def load() -> None:
            acked.extend(
                produce(broker.bootstrap, "t", sent, **{"request.timeout.ms": 2000, "message.timeout.ms": 120_000})
            )

        with watched(broker.metrics) as moved:
            thread = threading.Thread(target=load)
            thread.start()
            # A producer id is metadata; with one in hand, producing needs no bucket.
            wait_until(lambda: "automq_wal_batches_total" in moved.names, 20, "the load has begun")
            s3.refuse = SLOW_DOWN
            wait_until(lambda: "automq_backpressure_timed_out_total" in moved.names, 60, "a producer was told to wait")
            wait_until(lambda: "write-ahead log is full" in broker.readiness(), 10, "/readyz says that the log is full")
            assert broker.is_ready(), "an outage of the bucket takes no broker out of service"
            assert broker.status()["bucket"]["trouble"] is not None
            admin = AdminClient({"bootstrap.servers": broker.bootstrap})
            topics = [admin.create_topics([NewTopic(name, 1, 1)], request_timeout=60)[name] for name in ("a", "b", "c")]
            wait_until(lambda: "automq_controller_waiting" in moved.names, 10, "metadata commands wait")
            s3.refuse = None
            thread.join()
            for topic in topics:
                topic.result(60)
        assert IN_OUTAGE - moved.names == set()
        assert acked == sent
        assert read_back(broker.bootstrap, "t", len(sent), timeout_s=60) == sent
        wait_until(broker.is_ready, 30, "ready again")
        broker.stop()


def test_a_lost_object_is_told_as_a_storage_error_and_the_broker_stays(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, settings=SMALL)
    broker.start()
    make_topic(broker.bootstrap, "t")
    produce(broker.bootstrap, "t", values(50))
    broker.stop()
    for directory in (tmp_path / "data" / "bucket" / "data").iterdir():
        shutil.rmtree(directory)
    broker.start()
    with watched(broker.metrics) as moved:
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "r", "auto.offset.reset": "earliest"})
        consumer.subscribe(["t"])
        for _ in range(20):
            consumer.poll(0.2)
            if moved.names >= WITH_LOST_OBJECT:
                break
        consumer.close()
    assert moved.names >= WITH_LOST_OBJECT
    assert broker.is_ready()
    broker.stop()
