"""A log on a disk and one without, side by side over the same S3 server: what an acknowledgement takes."""

from contextlib import ExitStack
from typing import Any

from twins.broker_process import BrokerProcess
from twins.seaweed import seaweed

from bench import checks, programs
from bench.lanes import Bench, Lane
from bench.outcome import NotMeasured, Row, middle, spread

_RATE = 5000
_RECORD_BYTES = 1024


def wal_kinds(bench: Bench) -> list[Row]:
    """p50 and p99 of 5000 records of 1 KB a second, and MB/s at full speed; every acked record is read back."""
    if bench.subject != "automq":
        raise NotMeasured("the kinds of log are ours to show")
    steady: dict[str, list[dict[str, Any]]] = {"file": [], "s3": []}
    full: dict[str, list[float]] = {"file": [], "s3": []}
    with ExitStack() as stack:
        store = stack.enter_context(seaweed(bench.new_directory()))
        stack.enter_context(store.environment())
        lanes = {}
        for kind in steady:
            settings = {"s3.wal.path": "s3"} if kind == "s3" else {}
            server = bench.start_subject(bucket=store.uri(prefix=kind), settings=settings)
            assert isinstance(server, BrokerProcess)
            stack.callback(server.stop)
            lanes[kind] = Lane(name=kind, server=server)
        for turn in range(bench.rounds + 1):
            for kind, lane in lanes.items():
                paced = _produce(bench, lane, messages=int(_RATE * 20 * bench.scale), rate=_RATE)
                fast = _produce(bench, lane, messages=bench.messages(200_000), rate=0)
                if turn:
                    steady[kind].append(paced["latency_us"])
                    full[kind].append(fast["megabytes_per_second"])
    rows = []
    for kind, latencies in steady.items():
        p50, p99 = ([each[name] / 1000 for each in latencies] for name in ("p50", "p99"))
        rows.append(
            Row(
                figure=f"produce latency with the log of kind {kind}, p50", unit="ms", ours=middle(p50), value=middle(p99),
                value_unit=" ms p99", samples={"p50": p50, "p99": p99, "megabytes_per_second": full[kind]},
                notes=[f"p50 {spread(p50)}, p99 {spread(p99)} ms; at full speed {spread(full[kind])} MB/s"],
            )
        )  # fmt: skip
    return rows


def _produce(bench: Bench, lane: Lane, *, messages: int, rate: int) -> dict[str, Any]:
    acked = bench.directory / "acked"
    options: dict[str, Any] = (
        {"rate": rate} if rate else {"batch_size": 262144, "queue_buffering_max_messages": 1000000}
    )
    with bench.topic(lane, partitions=4) as topic:
        shown = programs.run(
            "rdkafka_load", "produce", lane.server.bootstrap, topic,
            messages=messages, size=_RECORD_BYTES, partitions=4, acked=acked, acks="all", linger_ms=5, **options,
        )  # fmt: skip
        if wrong := checks.read_back(lane.server.bootstrap, topic, partitions=4, messages=messages, acked=acked):
            raise AssertionError(f"{lane.name}: {wrong}")
    return shown


__all__ = ["wal_kinds"]
