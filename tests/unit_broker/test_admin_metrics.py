"""Metrics: the contract, the text for Prometheus, the figures of requests, buckets and groups."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from automq_broker.adapters.metered_bucket import MeteredBucket
from automq_broker.admin import broker_samples
from automq_broker.admin.exposition import Metrics, families
from automq_broker.admin.http import Request, Response
from automq_broker.admin.loop_watch import LoopWatch
from automq_broker.admin.pages import build_routes, plain
from automq_broker.admin.request_meters import RequestMeters
from automq_broker.contract import metrics as contract
from automq_broker.contract.histogram import SECONDS, Histogram
from automq_broker.contract.metrics import METRICS, Kind, Metric, Sample, Total
from automq_broker.front.values import ConnectionRow
from automq_broker.kernel.errors import Bug
from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound
from prometheus_client.parser import text_string_to_metric_families
from twins.front_client import HandClock
from twins.memory_bucket import Faults, MemoryBucket
from twins.virtual_time import run_virtual


def _text(samples: list[Sample]) -> dict[str, float]:
    """Every line of the page that is ours: name with labels -> value."""
    found = {}
    for family in text_string_to_metric_families(Metrics().text(samples).decode()):
        for sample in family.samples:
            if sample.name.startswith("automq"):
                found[f"{sample.name}{sorted(sample.labels.items())}"] = sample.value
    return found


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_contract_keeps_prometheus_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"automq_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.meaning.endswith(".")
    assert len({other.name for other in METRICS}) == len(METRICS)


def test_every_kind_of_metric_is_written_so_that_prometheus_reads_it() -> None:
    histogram = Histogram()
    for value in (0.00005, 0.0001, 0.003, 100):
        histogram.observe(value)
    lines = _text(
        [
            Sample(contract.REQUESTS, 7, ("Fetch",)),
            Sample(contract.IN_FLIGHT_BYTES, 9),
            Sample(contract.CONTROLLER_COMMIT_DURATION, Total(3, 0.5)),
            Sample(contract.REQUEST_DURATION, histogram.distribution(), ('a"b\n',)),
        ]
    )
    assert lines["automq_requests_total[('api', 'Fetch')]"] == 7
    assert lines["automq_in_flight_bytes[]"] == 9
    assert (lines["automq_controller_commit_seconds_count[]"], lines["automq_controller_commit_seconds_sum[]"]) == (
        3,
        0.5,
    )
    assert lines["automq_request_duration_seconds_bucket[('api', 'a\"b\\n'), ('le', '0.0001')]"] == 2
    assert lines["automq_request_duration_seconds_bucket[('api', 'a\"b\\n'), ('le', '+Inf')]"] == 4
    assert lines["automq_request_duration_seconds_count[('api', 'a\"b\\n')]"] == 4


def test_a_metric_outside_the_contract_is_a_bug() -> None:
    with pytest.raises(Bug, match="automq_mine"):
        families([Sample(Metric("automq_mine", Kind.GAUGE, "Mine."), 1)])


def test_the_page_has_the_process_too() -> None:
    page = Metrics().text([]).decode()
    assert "process_resident_memory_bytes" in page
    assert "python_info" in page


def test_a_histogram_counts_a_value_on_a_bound_below_it() -> None:
    histogram = Histogram()
    for bound in SECONDS:
        histogram.observe(bound)
    assert histogram.counts == [1] * len(SECONDS) + [0]
    assert histogram.count == len(SECONDS)


def test_requests_and_connections_are_counted() -> None:
    meters = RequestMeters()
    meters.connection_opened("A")
    meters.connection_opened("A")
    meters.connection_closed("A", "idle")
    meters.connection_refused("A", "max.connections")
    meters.request_done(1, 0.002, 100, 1000)
    meters.request_done(1, 0.2, 100, 0)
    meters.request_failed(-1, "bad frame length")
    lines = _text(list(meters.samples()))
    assert lines["automq_requests_total[('api', 'Fetch')]"] == 2
    assert lines["automq_request_bytes_total[('api', 'Fetch')]"] == 200
    assert lines["automq_network_bytes_total[('direction', 'out')]"] == 1000
    assert lines["automq_request_errors_total[('api', 'unknown'), ('reason', 'bad frame length')]"] == 1
    assert lines["automq_connections[('listener', 'A')]"] == 1
    assert lines["automq_connections_refused_total[('listener', 'A'), ('reason', 'max.connections')]"] == 1


def test_a_metered_bucket_counts_calls_errors_and_bytes() -> None:
    async def scenario() -> MeteredBucket:
        bucket = MeteredBucket(MemoryBucket())
        etag = await bucket.put("a", [b"12", b"345"])
        await bucket.put_if_match("a", b"1234", etag)
        assert bytes(await bucket.get("a")) == b"1234"
        assert (await bucket.get_with_etag("a"))[0] == b"1234"
        with pytest.raises(NotFound):
            await bucket.get("b")
        assert (await bucket.head("a")).size == 4
        assert len(await bucket.list("")) == 1
        await bucket.delete_many(["a"])
        await bucket.close()
        return bucket

    lines = _text(list(asyncio.run(scenario()).samples()))
    assert lines["automq_bucket_requests_total[('kind', 'get'), ('result', 'ok')]"] == 2
    assert lines["automq_bucket_requests_total[('kind', 'get'), ('result', 'NotFound')]"] == 1
    assert lines["automq_bucket_bytes_total[('direction', 'in')]"] == 8
    assert lines["automq_bucket_bytes_total[('direction', 'out')]"] == 9
    assert lines["automq_bucket_request_duration_seconds_count[('kind', 'put')]"] == 1


@pytest.mark.parametrize(("trouble", "words"), [("outage", "the bucket fails"), ("denied", "the bucket denies access")])
def test_an_outage_of_the_bucket_is_told_once_and_its_end_too_and_a_short_one_not_at_all(
    trouble: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_for(bucket: MeteredBucket, faults: Faults, seconds: int) -> None:
        setattr(faults, trouble, True)
        for _ in range(seconds):
            with pytest.raises((BucketUnavailable, BucketDenied)):
                await bucket.list("")
            await asyncio.sleep(1)
        setattr(faults, trouble, False)
        await bucket.list("")

    async def scenario() -> None:
        faults = Faults()
        bucket = MeteredBucket(MemoryBucket(faults=faults))
        await fail_for(bucket, faults, 3)
        assert not caplog.records
        await fail_for(bucket, faults, 20)

    with caplog.at_level("INFO"):
        run_virtual(scenario())
    assert [record.message for record in caplog.records] == [words, "the bucket works again"]
    assert [record.seconds for record in caplog.records] == [5, 20]  # type: ignore[attr-defined]


class _Groups:
    def __init__(self, rows: int) -> None:
        self._rows = rows

    def committed_offsets(self) -> Iterator[tuple[str, str, int, int]]:
        for row in range(self._rows):
            yield "g", "t", row, 10 * row

    def statistics(self) -> dict[str, int]:
        return {"groups_stable": 1, "groups_empty": 0, "members": 3, "shards": 50}


def test_lag_is_the_way_to_the_end_and_never_negative() -> None:
    ends = {0: 7, 1: 5}
    lines = _text(list(broker_samples.group_samples(_Groups(3), lambda topic, partition: ends.get(partition))))
    lag = "automq_group_lag_records[('group', 'g'), ('partition', '%d'), ('topic', 't')]"
    assert (lines[lag % 0], lines[lag % 1]) == (7, 0)
    assert lag % 2 not in lines
    assert lines["automq_groups[('state', 'stable')]"] == 1
    assert lines["automq_group_members[]"] == 3
    assert lines["automq_group_lag_omitted[]"] == 0


def test_how_far_partitions_reach_is_told_by_who_serves_them_in_bounded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_samples, "LAG_ROWS_MAX", 3)
    lines = _text(list(broker_samples.end_samples([("t", 0, 0), ("t", 1, 7)])))
    assert lines["automq_partition_end_offset[('partition', '1'), ('topic', 't')]"] == 7
    assert lines["automq_partition_end_omitted[]"] == 0
    lines = _text(list(broker_samples.end_samples([("t", number, 100) for number in range(5)])))
    assert sum(name.startswith("automq_partition_end_offset") for name in lines) == 3
    assert lines["automq_partition_end_omitted[]"] == 2


def test_rows_of_lag_are_bounded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_samples, "LAG_ROWS_MAX", 5)
    lines = _text(list(broker_samples.group_samples(_Groups(8), lambda *_: 100)))
    assert lines["automq_group_lag_omitted[]"] == 3
    assert sum(name.startswith("automq_group_lag_records") for name in lines) == 5


def test_the_loop_watch_notices_a_blocked_loop() -> None:
    import time

    async def scenario() -> float:
        watch = LoopWatch(HandClock())
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(0.2)
        time.sleep(0.2)  # noqa: ASYNC251 - it is what the test is about
        await asyncio.sleep(0.05)
        task.cancel()
        (sample,) = watch.samples()
        return sample.value.sum  # type: ignore[union-attr]

    assert asyncio.run(scenario()) > 0.1


def _get(routes, path: str) -> Response:
    async def ask() -> Response:
        answer = routes["GET", path](Request(method="GET", path=path, query={}, headers={}))
        return answer if isinstance(answer, Response) else await answer

    return asyncio.run(ask())


def test_the_pages_say_how_it_is() -> None:
    state: dict[str, str | None] = {"healthy": None, "ready": "recovering the write-ahead log"}
    metrics = Metrics()
    metrics.add_source(lambda: [Sample(contract.READY, 0)])
    routes = build_routes(
        why_unhealthy=lambda: state["healthy"],
        why_not_ready=lambda: state["ready"],
        metrics=metrics,
        status=lambda: {"node": 1, "rows": [Sample(contract.READY, 1)], "set": {3}},
    )
    assert (_get(routes, "/healthz").status, _get(routes, "/healthz").body) == (200, b"ok\n")
    assert (_get(routes, "/readyz").status, _get(routes, "/readyz").body) == (503, b"recovering the write-ahead log\n")
    assert b"\nautomq_ready 0.0\n" in _get(routes, "/metrics").body
    assert b'"node": 1' in _get(routes, "/status").body
    assert b"GET /metrics" in _get(routes, "/").body


def test_rows_of_connections_fit_into_json() -> None:
    row = ConnectionRow(
        id=1, listener="A", peer="h:1", principal="p", client_id="c", software="", age_s=1.0, idle_s=0.5, requests=1,
        bytes_in=1, bytes_out=2, in_flight=0, unsent_bytes=0, blocked=("unsent",),
    )  # fmt: skip
    assert plain({"connections": (row,)})["connections"][0]["blocked"] == ["unsent"]
