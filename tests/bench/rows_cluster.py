"""Several brokers: moves, orderly and sudden ends, the controller's end, and what three do beside one."""

import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from automq_broker.commands.admin_client import AdminClient
from automq_broker.contract import admin
from automq_broker.wire.apis.k45_alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from automq_broker.wire.frames import decode_response, encode_request
from chaos import figures
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient as KafkaAdmin
from confluent_kafka.admin import NewTopic
from twins.broker_process import BrokerProcess
from twins.child_process import wait_until
from twins.up_process import UpProcess

from bench import programs
from bench.cluster import Cluster, cluster_of
from bench.lanes import Bench
from bench.outcome import Demand, Row, middle, spread
from bench.ticker import Ticker

_MIB = 1 << 20
_KEEP_IN_WAL = {
    "s3.wal.capacity": str(2048 * _MIB),
    "s3.wal.upload.threshold": str(700 * _MIB),
    "s3.wal.upload.interval.ms": "3600000",
}


def _ask(broker: BrokerProcess, key: int, message: Any) -> Any:
    """One request of version 0 on a connection of its own."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=30) as connection:
        connection.sendall(encode_request(key, 0, 1, "bench", message))
        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        return decode_response(key, 0, memoryview(connection.recv(size, socket.MSG_WAITALL)))[1]


def move(bench: Bench) -> list[Row]:
    """One busy partition to and fro under a steady producer; what counts is how long nothing was acknowledged."""
    stalls: list[float] = []
    with cluster_of(bench) as cluster:
        cluster.make_topic("moved", [1])
        ticker = Ticker(cluster.bootstrap, "moved", [0])
        time.sleep(1)
        marks = []
        for turn in range(max(20, int(50 * bench.scale))):
            marks.append(time.monotonic())
            partition = ReassignablePartition(partition_index=0, replicas=[2 + turn % 2])
            topic = ReassignableTopic(name="moved", partitions=[partition])
            answer = _ask(cluster.brokers[0], 45, AlterPartitionReassignmentsRequest(timeout_ms=10_000, topics=[topic]))
            assert answer.error_code == 0, answer
            wait_until(cluster.is_settled, 20, "the move is over")
            time.sleep(0.3)
        marks.append(time.monotonic())
        found = ticker.stop()
        assert ticker.errors == []
    stalls = [figures.stall_s(found, begin, end) for begin, end in pairwise(marks)]
    stalls.sort()
    worst = stalls[min(len(stalls) - 1, int(len(stalls) * 0.99))]
    row = _row("move of one busy partition: nothing acknowledged, p99", stalls, Demand(must=1, aim=0.3, is_least=False))
    row.ours = row.value = worst
    row.notes.append(f"median {middle(stalls):.3f} s")
    return [row]


def drain(bench: Bench) -> list[Row]:
    """A third of the partitions, with one record each, leave a broker."""
    samples = []
    with cluster_of(bench) as cluster:
        count = 1000
        cluster.make_topic("many", [1 + index % 3 for index in range(3 * count)])
        for turn in range(max(1, bench.rounds)):
            node_id = 1 + turn % 3
            assigned = _row_of(cluster, node_id).partitions_open
            start = time.monotonic()
            cluster.api(1).ask(admin.DRAIN, admin.Drained, admin.DrainRequest(node_id=node_id))
            wait_until(cluster.is_settled, 60, "the broker is empty")
            samples.append((time.monotonic() - start) * count / assigned)
            cluster.api(1).ask(admin.DRAIN, admin.Drained, admin.DrainRequest(node_id=node_id, is_cancelled=True))
    return [_row("1 000 partitions moved off a broker", samples, Demand(must=10, aim=5, is_least=False))]


def _row_of(cluster: Cluster, node_id: int) -> admin.Broker:
    found = cluster.api(1).ask(admin.BROKERS, admin.Brokers).brokers
    return next(row for row in found if row.node_id == node_id)


def orderly_stop(bench: Bench) -> list[Row]:
    """SIGTERM with the log full of what is not uploaded; the end, and everything readable from the others."""
    samples, mebibytes = [], int(400 * min(1.0, bench.scale * 2))
    for _ in range(bench.rounds):
        with cluster_of(bench, settings=_KEEP_IN_WAL) as cluster:
            cluster.make_topic("filled", [2] * 4)
            records = _fill(cluster.bootstrap, "filled", mebibytes)
            broker = cluster.brokers[1]
            start = time.monotonic()
            code = broker.terminate(60)
            samples.append(time.monotonic() - start)
            assert code == 0, code
            cluster.brokers.pop(1)
            _assert_readable(cluster.bootstrap, "filled", records)
    title = f"SIGTERM with {mebibytes} MiB unflushed to exit, all readable elsewhere"
    return [_row(title, samples, Demand(must=8, aim=4, is_least=False))]


def _fill(bootstrap: str, topic: str, mebibytes: int) -> int:
    records = mebibytes * 1024
    programs.run(
        "rdkafka_load", "produce", bootstrap, topic, messages=records, size=1000, partitions=4, acks="all",
        linger_ms=5, batch_size=262144,
    )  # fmt: skip
    return records


def _assert_readable(bootstrap: str, topic: str, records: int) -> None:
    found = programs.run("rdkafka_load", "consume", bootstrap, topic, messages=records, partitions=4)
    assert not any(found[key] for key in ("missing", "doubled", "corrupt", "errors") if key in found), found


def sudden_end(bench: Bench) -> list[Row]:
    """kill -9 of a broker with 256 MiB in its log, under `automq up`: until survivors take records for all of its partitions."""
    samples: dict[str, list[float]] = {"broker": [], "controller": []}
    for turn in range(max(2, bench.rounds)):
        role = "controller" if turn % 2 else "broker"
        directory = bench.new_directory()
        keep = [f"{key}={value}" for key, value in _KEEP_IN_WAL.items()] + ["autobalancer.controller.enable=false"]
        up = UpProcess(directory, settings=keep)
        try:
            up.start()
            samples[role].append(_kill_under_up(up, is_controller=role == "controller"))
        finally:
            if up.process is not None:
                up.process.kill()
            up.end_leftovers()
            shutil.rmtree(directory, ignore_errors=True)
    demand = Demand(must=15, aim=8, is_least=False)
    return [
        _row(f"kill -9 of a {role}, 256 MiB in its log, to all writable", samples[role], demand) for role in samples
    ]


def _kill_under_up(up: UpProcess, *, is_controller: bool) -> float:
    client = AdminClient(up.local.admin, token=Path(up.local.token_file).read_text().strip())
    holder = client.ask(admin.CLUSTER, admin.Cluster).controller.node_id
    victim = next(node for node in (1, 2, 3) if (node == holder) is is_controller)
    kafka = KafkaAdmin({"bootstrap.servers": up.bootstrap, "log_level": 3})
    topic = NewTopic("filled", 4, replica_assignment=[[victim]] * 4)
    kafka.create_topics([topic])["filled"].result(30)
    _fill(up.bootstrap, "filled", 256)
    ticker = Ticker(up.bootstrap, "filled", range(4), per_second=200)
    time.sleep(1)
    killed = time.monotonic()
    up.signal(victim, signal.SIGKILL)
    wait_until(lambda: figures.recovery_s(ticker.answers(), killed) is not None, 90, "all partitions take records")
    taken = figures.recovery_s(ticker.stop(), killed)
    assert ticker.errors == []
    assert taken is not None
    return taken


def restart_in_place(bench: Bench) -> list[Row]:
    """kill -9 of a broker of three with 256 MiB in its log, and exec on the same log at once: to the first ack."""
    samples = []
    for _ in range(bench.rounds):
        with cluster_of(bench, settings=_KEEP_IN_WAL) as cluster:
            cluster.make_topic("filled", [2] * 4)
            _fill(cluster.bootstrap, "filled", 256)
            ticker = Ticker(cluster.bootstrap, "filled", range(4), per_second=200)
            time.sleep(0.5)
            killed = time.monotonic()
            cluster.brokers[1].kill()
            cluster.brokers[1].spawn()
            wait_until(lambda: figures.recovery_s(ticker.answers(), killed) is not None, 90, "it serves")  # noqa: B023
            samples.append(figures.recovery_s(ticker.stop(), killed) or 0.0)
            assert ticker.errors == []
    return [_row("kill -9 and restart in place, 256 MiB in the log", samples, Demand(must=5, aim=2, is_least=False))]


def controller_end(bench: Bench) -> list[Row]:
    """kill -9 of the controller: until a topic can be made again, while producers to the others notice nothing."""
    samples, errors, stalls = [], 0, []
    for _ in range(bench.rounds):
        with cluster_of(bench) as cluster:
            holder = cluster.controller()
            assert holder is not None
            others = [node for node in (1, 2, 3) if node != holder]
            cluster.make_topic("steady", others)
            ticker = Ticker(cluster.bootstrap, "steady", range(2))
            time.sleep(1)
            killed = time.monotonic()
            cluster.brokers[holder - 1].kill()
            cluster.brokers.pop(holder - 1)
            kafka = KafkaAdmin({"bootstrap.servers": cluster.bootstrap, "log_level": 2})
            _repeat(lambda: kafka.create_topics([NewTopic("next", 1)], request_timeout=5)["next"].result(6))  # noqa: B023
            samples.append(time.monotonic() - killed)
            stalls.append(figures.stall_s(ticker.stop(), killed, time.monotonic()))
            errors += len(ticker.errors)
    demand = Demand(must=15, aim=10, is_least=False)
    row = _row("controller killed, to the next metadata change", samples, demand)
    row.notes.append(f"longest silence of a producer to the survivors {max(stalls):.2f} s")
    told = Row(figure="produce errors meanwhile", ours=errors, value=errors, demand=Demand(must=0, is_least=False))
    return [row, told]


def _repeat(work: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            work()
            return
        except KafkaException as failure:
            if failure.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return  # an attempt whose answer was lost had done it
            assert time.monotonic() < deadline, "no metadata change within 60 s"


def scaling(bench: Bench) -> list[Row]:
    """The same load on one broker and on three: bytes per second of the brokers' CPU time."""
    shares: dict[int, list[float]] = {1: [], 3: []}
    for _ in range(bench.rounds):
        for count in (1, 3):
            with cluster_of(bench, count, settings={"s3.wal.capacity": str(512 * _MIB)}) as cluster:
                cluster.make_topic("spread", [1 + index % count for index in range(12)])
                before = _cpu_seconds(cluster)
                messages = bench.messages(600_000)
                programs.run(
                    "rdkafka_load", "produce", cluster.bootstrap, "spread", messages=messages, size=1024,
                    partitions=12, acks="all", linger_ms=20, batch_size=262144,
                )  # fmt: skip
                shares[count].append(messages * 1024 / 1e6 / (_cpu_seconds(cluster) - before))
    value = middle(shares[3]) / middle(shares[1])
    note = f"MB per core-second: one {middle(shares[1]):.0f}, three {middle(shares[3]):.0f}"
    demand = Demand(must=0.9, aim=1.0)
    title = "three brokers over one, per core-second"
    return [
        Row(
            figure=title,
            value=value,
            value_unit="×",
            ours=middle(shares[3]),
            unit="MB/core-s",
            demand=demand,
            notes=[note],
        )
    ]


def _cpu_seconds(cluster: Cluster) -> float:
    return sum(broker.process.cpu_seconds() for broker in cluster.brokers if broker.process is not None)


def _row(figure: str, samples: list[float], demand: Demand) -> Row:
    value = middle(samples)
    notes = [spread(samples)] if len(samples) > 1 else []
    return Row(figure=figure, unit="s", ours=value, value=value, value_unit=" s", demand=demand, notes=notes)


__all__ = ["controller_end", "drain", "move", "orderly_stop", "restart_in_place", "scaling", "sudden_end"]
