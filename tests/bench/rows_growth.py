"""Clusters that grow: a broker that joins three loaded ones, and one that joins 100 000 partitions."""

import subprocess
import time
from collections import deque

from automq_broker.contract import metrics
from prometheus_client.parser import text_string_to_metric_families

from bench import programs
from bench.cluster import Cluster, cluster_of
from bench.lanes import Bench
from bench.outcome import Demand, NotMeasured, Row, middle, spread
from bench.scale.brokers import joined
from bench.scale.cluster import Size

_MIB = 1 << 20
_PARTITIONS = 24
_RECORDS_PER_S = 12_000
_RECORD_BYTES = 1_000
_LOAD_S = 100
_PATIENCE_S = 90
_WINDOW_S = 3.0
_DEVIATION = 0.1
_SETTINGS = {"autobalancer.controller.enable": "true", "s3.wal.capacity": str(512 * _MIB)}


def broker_added(bench: Bench) -> list[Row]:
    """From exec of the fourth broker until the bytes that each of the four stored in 3 s are within 10 % of the average.

    Balancer and its settings are as they come. The bytes are the brokers' own counters, not what the balancer believes.
    """
    samples = []
    for _ in range(bench.rounds):
        with cluster_of(bench, 4, running=3, settings=_SETTINGS) as cluster:
            cluster.make_topic("busy", [1 + index % 3 for index in range(_PARTITIONS)])
            load = _start_load(cluster)
            time.sleep(20)  # its rates are known by then
            begun = time.monotonic()
            cluster.brokers[3].spawn()
            _wait_even(cluster, begun)
            samples.append(time.monotonic() - begun)
            out, _ = load.communicate(timeout=_LOAD_S + 60)
            assert load.returncode == 0, out
    value = middle(samples)
    demand = Demand(must=60, aim=30, is_least=False)
    title = "a broker added to 3 loaded ones, to load within 10 %"
    notes = [f"{_RECORDS_PER_S * _RECORD_BYTES / 1e6:.0f} MB/s on {_PARTITIONS} partitions; {spread(samples)}"]
    return [Row(figure=title, unit="s", ours=value, value=value, value_unit=" s", demand=demand, notes=notes)]


def metadata(_: Bench) -> list[Row]:
    """A real broker that follows the metadata of 100 brokers: what they add to its memory, and to its start."""
    size = Size(brokers=100, partitions=100_000, ranges=10)
    found = joined(size)
    memory, load_s = found["real_above_mib"], found["real_s"] - found["real_empty_s"]
    told = f"{size.partitions:,} partitions with {size.ranges} ranges each"
    return [
        Row(
            figure=f"{told}: memory of a broker that is not the controller", unit="MiB", ours=memory, value=memory,
            value_unit=" MiB", demand=Demand(must=200, is_least=False),
        ),
        Row(
            figure=f"{told}: their load, exec to serving above an empty cluster", unit="s", ours=load_s, value=load_s,
            value_unit=" s", demand=Demand(must=10, is_least=False),
        ),
    ]  # fmt: skip


def _start_load(cluster: Cluster) -> "subprocess.Popen[str]":
    command = programs.command(
        "rdkafka_load", "produce", cluster.bootstrap, "busy", messages=_RECORDS_PER_S * _LOAD_S, rate=_RECORDS_PER_S,
        size=_RECORD_BYTES, partitions=_PARTITIONS, acks="all", linger_ms=5,
    )  # fmt: skip
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def _wait_even(cluster: Cluster, begun: float) -> None:
    seen: deque[tuple[float, list[float]]] = deque()
    while time.monotonic() < begun + _PATIENCE_S:
        seen.append((time.monotonic(), [_stored_bytes(broker.metrics()) for broker in cluster.brokers]))
        while seen[-1][0] - seen[0][0] > _WINDOW_S:
            first = seen.popleft()[1]
            if _is_even([now - before for before, now in zip(first, seen[-1][1], strict=True)]):
                return
        time.sleep(0.25)
    raise NotMeasured(f"not even after {_PATIENCE_S} s")


def _is_even(carried: list[float]) -> bool:
    average = sum(carried) / len(carried)
    return average > 0 and all(abs(each - average) <= _DEVIATION * average for each in carried)


def _stored_bytes(page: str) -> float:
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == metrics.WAL_BYTES.name)


__all__ = ["broker_added", "metadata"]
