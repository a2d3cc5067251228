"""Resident memory: idle, with many partitions, and under load above what the budgets allow."""

import threading
import time
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported from C
from twins.seaweed import seaweed

from bench import programs
from bench.lanes import Bench, Lane, Server
from bench.outcome import Demand, Row

_MIB = 1 << 20
_SETTLE_S = 5.0
_PARTITIONS = 10_000
# The budgets that a laptop's defaults give: tail cache, block cache, in-flight requests, objects on their way to the bucket.
_BUDGETS = {
    "s3.wal.cache.size": 128 * _MIB,
    "s3.block.cache.size": 64 * _MIB,
    "queued.max.request.bytes": 64 * _MIB,
    "automq.upload.memory.size": 128 * _MIB,
}


def memory(bench: Bench) -> list[Row]:
    """All rows about resident memory."""
    rows = [_idle(bench, None, "RSS idle, directory bucket", Demand(must=80, aim=60, is_least=False))]
    if bench.subject == "automq":
        with seaweed(bench.new_directory()) as store, store.environment():
            uri = store.uri(prefix="idle")
            rows.append(_idle(bench, uri, "RSS idle, S3 bucket", Demand(must=120, aim=100, is_least=False)))
    return [*rows, _many_partitions(bench), _under_load(bench)]


def _idle(bench: Bench, bucket: str | None, figure: str, demand: Demand) -> Row:
    with bench.another_subject(bucket=bucket) as server:
        time.sleep(_SETTLE_S)
        return _row(figure, _rss(server), demand)


def _many_partitions(bench: Bench) -> Row:
    with bench.another_subject() as server:
        create_partitions(server, _PARTITIONS)
        time.sleep(_SETTLE_S)
        return _row("RSS with 10 000 partitions", _rss(server), Demand(must=512, aim=350, is_least=False))


def create_partitions(server: Server, count: int) -> None:
    """`count` partitions in topics of a hundred, each with one record: none of them is only a name."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 3})
    names = [f"many-{number}" for number in range(count // 100)]
    for start in range(0, len(names), 10):
        created = admin.create_topics(
            [NewTopic(name, 100, 1) for name in names[start : start + 10]], request_timeout=120
        )
        for result in created.values():
            result.result(120)
    producer = Producer({"bootstrap.servers": server.bootstrap, "linger.ms": 5})
    for name in names:
        for partition in range(100):
            producer.produce(name, value=b"here", partition=partition)
        producer.poll(0)
    assert producer.flush(120) == 0


def _under_load(bench: Bench) -> Row:
    """Peak memory while one producer writes as fast as it can and two consumers read the same from the beginning."""
    settings = {key: str(value) for key, value in _BUDGETS.items()}
    with bench.another_subject(settings=settings) as server:
        lane = Lane(name="ours", server=server)
        messages = bench.messages(3_000_000)
        shared: dict[str, Any] = {"messages": messages, "partitions": 4}
        with bench.topic(lane, partitions=4) as topic:
            produce: dict[str, Any] = {"size": 1024, "acks": "all", "linger_ms": 5, "batch_size": 262144}
            programs.run(
                "rdkafka_load", "produce", server.bootstrap, topic, **{**shared, "messages": messages // 3}, **produce
            )
            # Both producers number their records from 0, so the readers' complaint about doubles is no finding here.
            words = ("rdkafka_load", "consume", server.bootstrap, topic)
            options = {**shared, "is_checked": False}
            consumers = [threading.Thread(target=programs.run, args=words, kwargs=options) for _ in range(2)]
            for consumer in consumers:
                consumer.start()
            programs.run("rdkafka_load", "produce", server.bootstrap, topic, **shared, **produce)
            for consumer in consumers:
                consumer.join()
        assert server.process is not None
        peak = server.process.rss_peak_bytes() / _MIB
    budgets = sum(_BUDGETS.values()) / _MIB
    row = _row("RSS peak under load above the budgets", peak - budgets, Demand(must=100, aim=50, is_least=False))
    row.notes.append(f"peak {peak:.0f} MiB; budgets {budgets:.0f} MiB: {', '.join(_BUDGETS)}")
    return row


def _rss(server: Server) -> float:
    assert server.process is not None
    return float(server.process.rss_bytes()) / _MIB


def _row(figure: str, mebibytes: float, demand: Demand) -> Row:
    return Row(figure=figure, unit="MiB", ours=mebibytes, value=mebibytes, value_unit=" MiB", demand=demand)
