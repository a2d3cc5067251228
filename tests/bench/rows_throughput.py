"""Produce and fetch at full speed, small requests per core, latency above the disk's own."""

from pathlib import Path
from typing import Any

from bench import checks, programs
from bench.lanes import Bench, Lane, wait_zeroed
from bench.outcome import Demand, Row, middle, spread

_BATCHED: dict[str, Any] = {"acks": "all", "linger_ms": 5, "batch_size": 262144, "queue_buffering_max_messages": 1000000,
            "queue_buffering_max_kbytes": 262144}  # fmt: skip

_WARM_FETCHES = 6
"""Rounds of fetches that are thrown away: Kafka's JIT is slow for longer than one, 0.6 s of CPU per GB instead of 0.25."""


def _produce(bench: Bench, lane: Lane, *, messages: int, size: int) -> dict[str, Any]:
    """One produce run on a fresh topic, read back and checked."""
    acked = bench.directory / "acked"
    with bench.topic(lane, partitions=4) as topic:
        bootstrap = lane.server.bootstrap
        cpu = lane.process.cpu_seconds()
        shown = programs.run(
            "rdkafka_load", "produce", bootstrap, topic,
            messages=messages, size=size, partitions=4, acked=acked, **_BATCHED,
        )  # fmt: skip
        shown["broker_cpu_seconds"] = lane.process.cpu_seconds() - cpu
        complaints = [
            checks.littles_law(shown, shown["mean_outstanding"], tolerance=0.2),
            checks.read_back(bootstrap, topic, partitions=4, messages=messages, acked=acked),
        ]
    if wrong := [complaint for complaint in complaints if complaint]:
        raise AssertionError(f"{lane.name}: {'; '.join(wrong)}")
    return shown


def _produce_rounds(bench: Bench, *, messages: int, size: int, key: str) -> tuple[dict[str, list[float]], list[str]]:
    """The figure `key` of every lane per round, after a shorter round that is thrown away (JIT, caches, disks)."""
    samples: dict[str, list[float]] = {lane.name: [] for lane in bench.lanes()}
    cores: dict[str, list[float]] = {lane.name: [] for lane in bench.lanes()}
    for turn in range(bench.rounds + 1):
        for lane in bench.rotated(turn):
            shown = _produce(bench, lane, messages=messages // (1 if turn else 2), size=size)
            if turn:
                samples[lane.name].append(shown[key])
                cores[lane.name].append(shown["broker_cpu_seconds"] / shown["seconds"])
    used = ", ".join(f"{name} {100 * middle(values):.0f} %" for name, values in cores.items())
    ranges = "; ".join(f"{name} {spread(values)}" for name, values in samples.items())
    return samples, [f"broker CPU: {used} of a core; {ranges}; every acked record read back, Little's law holds"]


def produce_1kb(bench: Bench) -> list[Row]:
    """1 KB records, acks=all, one librdkafka producer, 4 partitions."""
    samples, notes = _produce_rounds(bench, messages=bench.messages(1_000_000), size=1024, key="megabytes_per_second")
    ours, kafka, flush = (middle(samples[name]) for name in ("ours", "kafka", "kafka_flush"))
    shared: dict[str, Any] = {
        "unit": "MB/s",
        "ours": ours,
        "kafka": kafka,
        "kafka_flush": flush,
        "value_unit": "×",
        "samples": samples,
    }
    title = "produce 1 KB, acks=all, 4 partitions"
    return [
        Row(
            figure=f"{title} / Kafka flush=1",
            value=ours / flush,
            demand=Demand(must=1.5, aim=2.0),
            notes=notes,
            **shared,
        ),
        Row(figure=f"{title} / Kafka", value=ours / kafka, demand=Demand(must=1.0, aim=1.3), **shared),
    ]


def produce_100b(bench: Bench) -> list[Row]:
    """100 B records, batched."""
    samples, notes = _produce_rounds(bench, messages=bench.messages(4_000_000), size=100, key="messages_per_second")
    ours, kafka, flush = (middle(samples[name]) for name in ("ours", "kafka", "kafka_flush"))
    return [
        Row(
            figure="produce 100 B, batched / Kafka", unit="msg/s", ours=ours, kafka=kafka, kafka_flush=flush,
            value=ours / kafka, value_unit="×", demand=Demand(must=0.8, aim=1.0), notes=notes, samples=samples,
        )
    ]  # fmt: skip


def small_requests(bench: Bench) -> list[Row]:
    """Unbatched 100 B produce requests, 50 connections × 5 in flight, per broker core-second."""
    samples: dict[str, list[float]] = {lane.name: [] for lane in bench.lanes()}
    rates: list[float] = []
    seconds = max(1.0, 5 * bench.scale)
    for turn in range(bench.rounds + 1):
        for lane in bench.rotated(turn):
            shown, cpu_seconds = _raw(bench, lane, connections=50, depth=5, partitions=4, seconds=seconds)
            if turn:
                samples[lane.name].append(shown["acked"] / cpu_seconds)
                if lane.name == "ours":
                    rates.append(shown["requests_per_second"])
    ours, kafka, flush = (middle(samples[name]) for name in ("ours", "kafka", "kafka_flush"))
    note = f"{spread(samples['ours'])}; at {middle(rates):,.0f} req/s on the clock; acks read back, Little's law holds"
    return [
        Row(
            figure="unbatched 100 B produce, 50 × 5 in flight", unit="req per core-s", ours=ours, kafka=kafka,
            kafka_flush=flush, value=ours / 1000, value_unit=" k", demand=Demand(must=20, aim=44), notes=[note],
            samples=samples,
        )
    ]  # fmt: skip


def _raw(bench: Bench, lane: Lane, **options: Any) -> tuple[dict[str, Any], float]:
    acked: Path = bench.directory / "acked"
    messages = 4_000_000
    with bench.topic(lane, partitions=options["partitions"]) as topic:
        cpu = lane.process.cpu_seconds()
        host, _, port = lane.server.bootstrap.rpartition(":")
        shown = programs.run("raw_load", host, port, topic, acked=acked, messages=messages, **options)
        cpu = lane.process.cpu_seconds() - cpu
        complaints = [
            checks.littles_law(shown, shown["in_flight"], tolerance=0.1),
            checks.read_back(
                lane.server.bootstrap, topic, partitions=options["partitions"], messages=messages, acked=acked
            ),
        ]
    if wrong := [complaint for complaint in complaints if complaint]:
        raise AssertionError(f"{lane.name}: {'; '.join(wrong)}")
    return shown, cpu


def ack_latency(bench: Bench) -> list[Row]:
    """One record in flight, against O_DIRECT writes of the same size interleaved with it."""
    above: dict[str, dict[str, list[float]]] = {"p50": {}, "p99": {}}
    plain: list[str] = []
    probe = bench.directory / "probe"
    for turn in range(bench.rounds + 1):
        for lane in bench.rotated(turn):
            with bench.topic(lane) as topic:
                shown = programs.run(
                    "rdkafka_load", "latency", lane.server.bootstrap, topic,
                    messages=bench.messages(4000), size=100, acks="all", probe=probe,
                )  # fmt: skip
            if turn:
                for at, lanes in above.items():
                    lanes.setdefault(lane.name, []).append((shown["ack_us"][at] - shown["disk_us"][at]) / 1000)
                if lane.name == "ours":
                    plain.append(f"ack {shown['ack_us']['p50']}/{shown['ack_us']['p99']} us, disk "
                                 f"{shown['disk_us']['p50']}/{shown['disk_us']['p99']} us")  # fmt: skip
    probe.unlink(missing_ok=True)
    demands = {"p50": Demand(must=0.2, aim=0.10, is_least=False), "p99": Demand(must=0.6, aim=0.3, is_least=False)}
    return [
        Row(
            figure=f"ack latency above the disk's own, {at}", unit="ms", ours=middle(lanes["ours"]),
            kafka=middle(lanes["kafka"]), kafka_flush=middle(lanes["kafka_flush"]), value=middle(lanes["ours"]),
            value_unit=" ms", demand=demands[at], samples=lanes,
            notes=[f"p50/p99 per round: {'; '.join(plain)}"] if at == "p50" else [],
        )
        for at, lanes in above.items()
    ]  # fmt: skip


def fetch_from_cache(bench: Bench) -> list[Row]:
    """One consumer, one partition, 8 MiB fetches, all of it in the tail cache (Kafka: the page cache).

    Two loaders: librdkafka, as the demand says, and one that looks at batch headers only. librdkafka makes a message of
    every record and takes a whole core for it, so with it both lanes show librdkafka's speed and not a broker's.
    """
    messages, size = bench.messages(300_000), 1024
    cache = {"s3.wal.cache.size": str(512 << 20)}
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {"ours": [], "kafka": []} for name in _FETCHERS}
    with bench.another_subject(settings=cache) as server:
        lanes = [Lane(name="ours", server=server), Lane(name="kafka", server=bench.kafka())]
        with bench.topic(lanes[0]) as ours, bench.topic(lanes[1]) as kafkas:
            pairs = list(zip(lanes, (ours, kafkas), strict=True))
            for lane, topic in pairs:
                programs.run(
                    "rdkafka_load", "produce", lane.server.bootstrap, topic,
                    messages=messages, size=size, partitions=1, **_BATCHED,
                )  # fmt: skip
            wait_zeroed(server)
            for turn in range(-_WARM_FETCHES, bench.rounds):
                for lane, topic in pairs[:: 1 if turn % 2 else -1]:
                    for name, fetch in _FETCHERS.items():
                        cpu = lane.process.cpu_seconds()
                        shown = fetch(lane, topic, messages)
                        shown["broker_cpu_seconds"] = lane.process.cpu_seconds() - cpu
                        if turn >= 0:
                            found[name][lane.name].append(shown)
    return [_fetch_row(name, samples) for name, samples in found.items()]


def _consume_with_librdkafka(lane: Lane, topic: str, messages: int) -> dict[str, Any]:
    return programs.run(
        "rdkafka_load", "consume", lane.server.bootstrap, topic, messages=messages, partitions=1,
        fetch_message_max_bytes=8 << 20, fetch_max_bytes=16 << 20, queued_max_messages_kbytes=131072,
    )  # fmt: skip


def _consume_headers_only(lane: Lane, topic: str, messages: int) -> dict[str, Any]:
    host, _, port = lane.server.bootstrap.rpartition(":")
    return programs.run("raw_fetch", host, port, topic, records=messages, fetch_bytes=8 << 20)


_FETCHERS = {"librdkafka": _consume_with_librdkafka, "batch headers only": _consume_headers_only}


def _fetch_row(name: str, found: dict[str, list[dict[str, float]]]) -> Row:
    samples = {lane: [shown["megabytes_per_second"] for shown in runs] for lane, runs in found.items()}
    ours, kafka = middle(samples["ours"]), middle(samples["kafka"])
    cores = {
        lane: [
            f"{100 * middle([shown[side] / shown['seconds'] for shown in runs]):.0f} %"
            f" ({1000 * middle([shown[side] / (shown['seconds'] * shown['megabytes_per_second']) for shown in runs]):.2f} s per GB)"
            for side in ("broker_cpu_seconds", "cpu_seconds")
        ]
        for lane, runs in found.items()
    }
    return Row(
        figure=f"fetch from cache, one partition, {name} / Kafka", unit="MB/s", ours=ours, kafka=kafka,
        value=ours / kafka, value_unit="×", demand=Demand(must=1.5, aim=3.0), samples=samples,
        notes=[
            f"ours {spread(samples['ours'])} with a tail cache of 512 MiB, Kafka {spread(samples['kafka'])}; core used by "
            f"broker and client: ours {' and '.join(cores['ours'])}, Kafka {' and '.join(cores['kafka'])}"
        ],
    )  # fmt: skip
