"""Requests and money of a cluster by formula, from the real plans of upload; prices are inputs with their place and date."""

from collections.abc import Iterator
from dataclasses import dataclass

from automq_broker.kernel.ids import StreamId
from automq_broker.lake.upload_plan import WaitingStream, plan_upload

_MIB = 1 << 20
_GB = 1e9
_MONTH_S = 730 * 3600
_INTERVAL_S = 60.0
_THRESHOLD_BYTES = 500 * _MIB
_PART_BYTES = 64 * _MIB
_COMPACTION_PUTS_PER_GB = 11.0
_COMPACTION_GETS_PER_GB = 1450.0
"""As `make bench ARGS="--rows s3_requests"` counts them at 1000 partitions and 50 MB/s a broker."""
_COLD_GET_BYTES = 4 * _MIB
_RENEWALS_PER_S = 1 / 3
_DISK_GIB = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """US dollars; list prices of AWS us-east-1, S3 Standard and EBS gp3, as known when this was written; check yours."""

    put: float = 0.005 / 1000
    get: float = 0.0004 / 1000
    stored_gb_month: float = 0.023
    disk_gib_month: float = 0.08
    disk_mib_per_s_month: float = 0.04
    """Above the 125 MiB/s that are free."""
    zone_gb: float = 0.02
    """Both directions between zones; the alternative that replication in Kafka pays twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one broker of the cluster carries."""

    brokers: int
    partitions: int
    bytes_per_s: float
    """Produced, per broker."""
    cold_reads: float = 0.2
    """Share of what is produced that is read once more from the bucket."""
    kept_days: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Requests per second of the whole cluster and dollars per month of 730 hours."""

    data_puts_per_s: float
    gets_per_s: float
    stored_tb: float
    requests: float
    storage: float
    disks: float
    kafka_zone_traffic: float


def bill(load: Load, prices: Prices) -> Bill:
    """Puts = uploads x objects of one + compaction; gets = compaction + cold reads of 4 MiB; one head renewal per 3 s."""
    total = load.brokers * load.bytes_per_s
    every_s = min(_INTERVAL_S, _THRESHOLD_BYTES / load.bytes_per_s)
    puts = load.brokers * _objects(load, every_s) / every_s + total / _GB * _COMPACTION_PUTS_PER_GB
    gets = total / _GB * _COMPACTION_GETS_PER_GB + total * load.cold_reads / _COLD_GET_BYTES
    stored = total * load.kept_days * 86_400
    fast = max(0.0, load.bytes_per_s / _MIB - 125)
    return Bill(
        data_puts_per_s=puts,
        gets_per_s=gets,
        stored_tb=stored / 1e12,
        requests=_MONTH_S * ((puts + _RENEWALS_PER_S) * prices.put + gets * prices.get),
        storage=stored / _GB * prices.stored_gb_month,
        disks=load.brokers * (_DISK_GIB * prices.disk_gib_month + fast * prices.disk_mib_per_s_month),
        kafka_zone_traffic=total / _GB * _MONTH_S * 2 * prices.zone_gb,
    )


def _objects(load: Load, every_s: float) -> int:
    partitions = max(1, load.partitions // load.brokers)
    each = int(load.bytes_per_s * every_s / partitions)
    sizes = (min(each, _MIB),) * max(1, each // _MIB)
    waiting = [WaitingStream(stream_id=StreamId(number), sizes=sizes) for number in range(partitions)]
    return len(plan_upload(waiting, object_bytes_max=_PART_BYTES))


def money_table(loads: list[Load], prices: Prices) -> Iterator[str]:
    """Markdown, one column per load."""
    bills = [bill(load, prices) for load in loads]
    titles = [f"{load.brokers} brokers, {load.bytes_per_s / 1e6:g} MB/s each" for load in loads]
    yield f"| requests and money | {' | '.join(titles)} |"
    yield "|---|" + "---|" * len(loads)
    rows = {
        "PUTs of data, 1/s": [f"{one.data_puts_per_s:,.1f}" for one in bills],
        "GETs, 1/s": [f"{one.gets_per_s:,.1f}" for one in bills],
        "the busiest of 256 prefixes, PUTs 1/s": [f"{one.data_puts_per_s / 256:,.2f}" for one in bills],
        "stored, TB": [f"{one.stored_tb:,.0f}" for one in bills],
        "S3 requests, $ a month": [f"{one.requests:,.0f}" for one in bills],
        "S3 storage, $ a month": [f"{one.storage:,.0f}" for one in bills],
        f"WAL volumes of {_DISK_GIB} GiB, $ a month": [f"{one.disks:,.0f}" for one in bills],
        "for comparison: two copies to other zones, $ a month": [f"{one.kafka_zone_traffic:,.0f}" for one in bills],
    }
    for title, cells in rows.items():
        yield f"| {title} | {' | '.join(cells)} |"


__all__ = ["Bill", "Load", "Prices", "bill", "money_table"]
