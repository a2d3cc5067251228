"""Reading back from S3, against plain ranged GETs of the same server."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from twins.broker_process import BrokerProcess
from twins.child_process import cpu_seconds_of
from twins.seaweed import SeaweedServer, make_client, seaweed

from bench import programs
from bench.lanes import Bench, Lane, create_topic, wait_zeroed
from bench.link import FAR, LOOPBACK, Link, reached_over, slow_link
from bench.outcome import Demand, NotMeasured, Row, middle, not_measured, spread

_MIB = 1 << 20
_RANGE_BYTES = 8 * _MIB
_RECORD_BYTES = 1024
_PARALLEL_GETS = 8
_PREFIX = "cold"
_POD_SETTINGS = {"s3.block.cache.size": str(256 * _MIB)}
"""As of a pod of 2 GiB: what is on its way from a store that is far away needs room."""
_LINKS = {"1gbit": "1 Gbit/s", "2.5gbit": "2.5 Gbit/s"}
"""Rates as tc writes them."""


@dataclass(slots=True, kw_only=True)
class Stored:
    """A broker over an S3 server that holds one topic of `messages` records of 1 KB in 4 partitions."""

    store: SeaweedServer
    broker: BrokerProcess
    topic: str
    messages: int

    def restart(self) -> None:
        """Stop cleanly and start again: everything uploaded, no cache warm."""
        assert self.broker.terminate(120) == 0
        self.broker.start(60)
        wait_zeroed(self.broker)

    def objects(self) -> list[tuple[str, int]]:
        """(key, bytes) of every data object."""
        client, found = make_client(self.store.endpoint), []
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.store.bucket, Prefix=f"{_PREFIX}/data/")
        for page in pages:
            found += [(entry["Key"], entry["Size"]) for entry in page.get("Contents", [])]
        return found


@contextmanager
def _stored(bench: Bench, link: Link = LOOPBACK, settings: Mapping[str, str] | None = None) -> Iterator[Stored]:
    if bench.subject != "automq":
        raise NotMeasured("reading back from S3 is ours to show")
    messages = bench.messages(500_000)
    with (
        seaweed(bench.new_directory(), host=link.host, run_by=link.run_by) as server_itself,
        reached_over(link, server_itself.endpoint) as endpoint,
        server_itself.environment(),
    ):
        store = replace(server_itself, endpoint=endpoint)
        patient = {"automq.shutdown.timeout.ms": "120000"}  # a stop here is a full upload, not what is measured
        server = bench.start_subject(bucket=store.uri(prefix=_PREFIX), settings={**patient, **(settings or {})})
        assert isinstance(server, BrokerProcess)
        try:
            create_topic(server.bootstrap, "cold", partitions=4)
            programs.run(
                "rdkafka_load", "produce", server.bootstrap, "cold", messages=messages, size=_RECORD_BYTES, partitions=4,
                acks="all", linger_ms=5, batch_size=262144,
            )  # fmt: skip
            stored = Stored(store=store, broker=server, topic="cold", messages=messages)
            stored.restart()
            total = sum(size for _, size in stored.objects())
            if total < messages * _RECORD_BYTES:
                raise NotMeasured(
                    f"only {total // _MIB} MiB of {messages * _RECORD_BYTES // _MIB} MiB are in the bucket after a clean stop"
                )
            yield stored
        finally:
            server.stop()


def _ranges(stored: Stored) -> list[tuple[str, int, int]]:
    return [
        (key, start, min(start + _RANGE_BYTES, size))
        for key, size in stored.objects()
        for start in range(0, size, _RANGE_BYTES)
    ]


def _plain_gets(stored: Stored, parallel: int) -> float:
    """MB/s of plain ranged GETs of every data object, by obstore, the broker's own client for bulk reads."""
    from obstore.store import S3Store

    store = S3Store(
        stored.store.bucket, endpoint=stored.store.endpoint, region="us-east-1", virtual_hosted_style_request=False,
        client_options={"allow_http": True}, **_credentials(),
    )  # fmt: skip
    ranges = _ranges(stored)
    start = time.monotonic()
    with ThreadPoolExecutor(parallel) as pool:
        sizes = list(pool.map(lambda part: len(store.get_range(part[0], start=part[1], end=part[2])), ranges))
    return sum(sizes) / (time.monotonic() - start) / 1e6


def _credentials() -> dict[str, Any]:
    from twins.seaweed import ACCESS_KEY, SECRET_KEY

    return {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}


def _consume(stored: Stored) -> dict[str, Any]:
    return programs.run(
        "rdkafka_load", "consume", stored.broker.bootstrap, stored.topic, messages=stored.messages, partitions=4,
        fetch_message_max_bytes=8 << 20, fetch_max_bytes=32 << 20, queued_max_messages_kbytes=262144,
    )  # fmt: skip


@dataclass(slots=True)
class _Spent:
    """CPU seconds per GB of whoever takes part in reading `gigabytes` back, over all rounds."""

    gigabytes: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def watch(self, gigabytes: float, parties: Mapping[str, Callable[[], float]]) -> Iterator[None]:
        before = {name: spent() for name, spent in parties.items()}
        yield
        self.gigabytes += gigabytes
        for name, spent in parties.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + spent() - before[name]

    @property
    def per_gigabyte(self) -> float:
        return sum(self.seconds.values()) / self.gigabytes

    def of(self, party: str) -> float:
        return self.seconds[party] / self.gigabytes

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds / self.gigabytes:.2f}" for name, seconds in self.seconds.items())


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def cold_read(bench: Bench) -> list[Row]:
    """One consumer reads everything back after a restart; plain ranged GETs of the same bytes alternate with it.

    Over the loopback store, broker and client share the CPUs, so the row also says what CPU a GB costs each of them: where
    they are the limit, no pipeline can read faster than the ratio of these sums, and none at all faster than with a broker
    that costs nothing. Behind a link, as a store is that lives elsewhere, the link is the limit, and the rows show whether
    the broker keeps it full. At S3's distance it is how many GETs are under way.
    """
    rows = [_cold_read(bench, LOOPBACK, "cold read from S3 / plain ranged GETs")]
    rows.append(_cold_read(bench, FAR, f"the same with the store {FAR.delay_ms} ms away", _POD_SETTINGS))
    for rate, shown in _LINKS.items():
        try:
            with slow_link(rate) as link:
                rows.append(_cold_read(bench, link, f"the same with the store behind {shown}"))
        except NotMeasured as why:
            rows.append(not_measured(f"cold read from S3 behind {shown}", str(why)))
    return rows


def _cold_read(bench: Bench, link: Link, figure: str, settings: Mapping[str, str] | None = None) -> Row:
    ours, plain = [], []
    ours_spent, plain_spent = _Spent(), _Spent()
    with _stored(bench, link, settings) as stored:
        _plain_gets(stored, _PARALLEL_GETS)  # the S3 server's own caches are warm for both
        gigabytes = sum(size for _, size in stored.objects()) / 1e9
        parties: dict[str, Callable[[], float]] = {"store": lambda: cpu_seconds_of(stored.store.pid)}
        for _ in range(bench.rounds):
            with plain_spent.watch(gigabytes, {**parties, "client": time.process_time}):
                plain.append(_plain_gets(stored, _PARALLEL_GETS))
            assert stored.broker.process is not None
            broker = stored.broker.process.cpu_seconds
            with ours_spent.watch(gigabytes, {**parties, "broker": broker, "client": _cpu_of_children}):
                shown = _consume(stored)
            if shown["records"] < stored.messages:
                raise NotMeasured(f"only {shown['records']} of {stored.messages} records came back")
            # From the first request on, as with the plain GETs: the wait for the first bytes is a part of both.
            ours.append(shown["records"] * _RECORD_BYTES / shown["seconds"] / 1e6)
            stored.restart()
    notes = [
        f"consumer {spread(ours)} MB/s; {_PARALLEL_GETS} parallel ranged GETs of 8 MiB {spread(plain)} MB/s; CPU seconds "
        f"per GB: {ours_spent}; plain: {plain_spent}; per CPU second "
        f"{100 * plain_spent.per_gigabyte / ours_spent.per_gigabyte:.0f} %, with a broker that costs nothing it would be "
        f"{100 * plain_spent.per_gigabyte / (ours_spent.per_gigabyte - ours_spent.of('broker')):.0f} %"
    ]
    return Row(
        figure=figure, unit="MB/s", ours=middle(ours), value=100 * middle(ours) / middle(plain), value_unit=" %",
        demand=Demand(must=80, aim=95), notes=notes, samples={"ours": ours, "plain": plain},
    )  # fmt: skip


def produce_during_catch_up(bench: Bench) -> list[Row]:
    """p99 of a steady producer while two readers catch up, against two readers that take the bytes from S3 itself."""
    beside_consumers, beside_gets = [], []
    with _stored(bench) as stored:
        lane = Lane(name="ours", server=stored.broker)
        for _ in range(bench.rounds):
            beside_gets.append(_steady_p99(bench, lane, lambda: _plain_gets(stored, _PARALLEL_GETS // 2)))
            beside_consumers.append(_steady_p99(bench, lane, lambda: _consume(stored)))
            stored.restart()
    value = middle(beside_consumers) / middle(beside_gets)
    return [
        Row(
            figure="produce p99 while 2 readers catch up / readers on S3", unit="ms", ours=middle(beside_consumers) / 1000,
            value=value, value_unit="×", demand=Demand(must=1.5, aim=1.2, is_least=False),
            notes=[f"p99 beside consumers {spread(beside_consumers)} us, beside plain readers {spread(beside_gets)} us"],
        )
    ]  # fmt: skip


def _steady_p99(bench: Bench, lane: Lane, read: Any) -> float:
    """p99 in us of 5000 records of 1 KB a second while two readers run `read` for as long as it lasts."""
    rate, seconds = 5000, max(2, int(10 * bench.scale))
    with bench.topic(lane, partitions=4) as topic:
        stop = threading.Event()

        def keep_reading() -> None:
            while not stop.is_set():
                read()

        readers = [threading.Thread(target=keep_reading) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            shown = programs.run(
                "rdkafka_load", "produce", lane.server.bootstrap, topic,
                messages=rate * seconds, size=_RECORD_BYTES, partitions=4, rate=rate, acks="all", linger_ms=1,
            )  # fmt: skip
        finally:
            stop.set()
            for reader in readers:
                reader.join()
    return float(shown["latency_us"]["p99"])
