"""Every metric of a broker: name, kind, labels, meaning. Dashboards and the operator rely on exactly these.

docs/metrics.md is generated from this table. Whoever has a figure hands out Samples of these metrics when the admin page
is scraped; nothing is pushed, so counting on the hot path is an integer addition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What a metric's values mean; Prometheus' own words."""

    COUNTER = "counter"
    """Only grows, from 0 at the start of the process."""

    GAUGE = "gauge"
    """How it is now."""

    HISTOGRAM = "histogram"
    """A Histogram of observations."""

    SUMMARY = "summary"
    """How often and the sum, as a Total; their rates divide to an average."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the contract. Base units only: seconds, bytes."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()


class Total(NamedTuple):
    """How often something happened, and the sum of what was measured."""

    times: float
    sum: float


class Distribution(NamedTuple):
    """A histogram at one moment: counts per bucket (the last one is above all bounds), and the sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class Sample(NamedTuple):
    """One value of a metric; `labels` in the metric's order."""

    metric: Metric
    value: float | Total | Distribution
    labels: tuple[str, ...] = ()


def _counter(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, meaning, labels)


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, meaning, labels)


# --- the process and its loop
BUILD_INFO = _gauge("automq_build_info", "Always 1; the version is in the label.", "version")
READY = _gauge("automq_ready", "1 while /readyz says 200.")
LOOP_DELAY = Metric(
    "automq_loop_delay_seconds", Kind.HISTOGRAM, "How late the event loop runs a timer: its queueing delay."
)

# --- requests and connections
REQUESTS = _counter("automq_requests_total", "Requests answered.", "api")
REQUEST_ERRORS = _counter(
    "automq_request_errors_total", "Requests that ended their connection, by reason.", "api", "reason"
)
REQUEST_DURATION = Metric(
    "automq_request_duration_seconds",
    Kind.HISTOGRAM,
    "From a request's last byte read to its answer handed to the socket; Fetch, JoinGroup and SyncGroup include waiting.",
    ("api",),
)
REQUEST_BYTES = _counter("automq_request_bytes_total", "Bytes of requests that were answered.", "api")
RESPONSE_BYTES = _counter("automq_response_bytes_total", "Bytes of answers.", "api")
NETWORK_BYTES = _counter(
    "automq_network_bytes_total", "Bytes of requests and answers of all APIs; direction is in or out.", "direction"
)
CONNECTIONS = _gauge("automq_connections", "Open client connections.", "listener")
CONNECTIONS_OPENED = _counter("automq_connections_opened_total", "Connections accepted.", "listener")
CONNECTIONS_CLOSED = _counter("automq_connections_closed_total", "Connections ended, by reason.", "listener", "reason")
CONNECTIONS_REFUSED = _counter(
    "automq_connections_refused_total", "Connections turned away: limits, failed handshakes.", "listener", "reason"
)
IN_FLIGHT_BYTES = _gauge("automq_in_flight_bytes", "Memory that unanswered requests hold.")
IN_FLIGHT_LIMIT = _gauge("automq_in_flight_limit_bytes", "Its limit, queued.max.request.bytes.")
MEMORY_WAITERS = _gauge("automq_connections_waiting_for_memory", "Connections not read because of that limit.")

# --- write-ahead log and back-pressure
WAL_CAPACITY = _gauge("automq_wal_capacity_bytes", "Size of the write-ahead log's ring.")
WAL_USED = _gauge("automq_wal_used_bytes", "Bytes of the ring that are not free for new records.")
WAL_WRITES = Metric("automq_wal_write_seconds", Kind.HISTOGRAM, "Durable writes of groups, from hand-over to durable.")
WAL_BATCHES = _counter("automq_wal_batches_total", "Record batches made durable; per write: the group size.")
WAL_BYTES = _counter("automq_wal_bytes_total", "Bytes of those batches.")
WAL_IN_FLIGHT = _gauge("automq_wal_in_flight_bytes", "Bytes handed to the device and not durable yet.")
BACKPRESSURE = _gauge(
    "automq_backpressure_state", "0 free; 1 produce is slowed because the ring fills; 2 only internal topics may write."
)
BACKPRESSURE_WAITING = _gauge("automq_backpressure_waiting", "Produce batches that wait for room in the ring.")
BACKPRESSURE_WAITED = _counter("automq_backpressure_waited_total", "Batches that had to wait.")
BACKPRESSURE_TIMED_OUT = _counter("automq_backpressure_timed_out_total", "Batches answered REQUEST_TIMED_OUT.")

# --- upload, caches, bucket
UPLOAD_OBJECTS = _counter("automq_upload_objects_total", "Objects uploaded from the write-ahead log.")
UPLOAD_BYTES = _counter("automq_upload_bytes_total", "Bytes of those objects.")
UPLOAD_ROUNDS = _counter("automq_upload_rounds_total", "Rounds of uploading.")
UPLOAD_ROUND_SECONDS = _gauge("automq_upload_last_round_seconds", "How long the last round took.")
UPLOAD_LAG = _gauge("automq_upload_lag_bytes", "Durable bytes that are not committed to the bucket yet.")
CACHE_LIMIT = _gauge("automq_cache_limit_bytes", "Budget of a cache: tail (newest records) or block.", "cache")
CACHE_USED = _gauge("automq_cache_used_bytes", "Bytes in a cache.", "cache")
CACHE_HITS = _counter("automq_cache_hits_total", "Blocks found in the block cache.")
CACHE_MISSES = _counter("automq_cache_misses_total", "Blocks that had to be read from the bucket.")
CACHE_EVICTED = _counter("automq_cache_evicted_total", "Blocks pushed out of a cache.", "cache")
READ_BYTES = _counter(
    "automq_read_bytes_total", "Bytes read for consumers, by where they were: tail, ring or bucket.", "source"
)
STORAGE_ERRORS = _counter("automq_storage_errors_total", "Reads answered KAFKA_STORAGE_ERROR. Above 0 is an alert.")
BUCKET_REQUESTS = _counter(
    "automq_bucket_requests_total", "Calls of the bucket by kind; result is ok or the error's name.", "kind", "result"
)
BUCKET_DURATION = Metric(
    "automq_bucket_request_duration_seconds", Kind.HISTOGRAM, "Time of the calls that succeeded.", ("kind",)
)
BUCKET_BYTES = _counter("automq_bucket_bytes_total", "Bytes moved; direction is in (read) or out.", "direction")
BUCKET_TROUBLE = _gauge("automq_bucket_trouble", "1 while the bucket refuses or does not answer. An alert if it stays.")

# --- metadata and partitions
CONTROLLER_ACTIVE = _gauge("automq_controller_active", "1 if this process holds the controller's seat.")
CONTROLLER_EPOCH = _gauge("automq_controller_epoch", "The controller's epoch.")
CONTROLLER_COMMITS = _counter("automq_controller_commits_total", "Commits to the head object that changed anything.")
CONTROLLER_COMMANDS = _counter("automq_controller_commands_total", "Commands inside those commits.")
CONTROLLER_RENEWALS = _counter("automq_controller_renewals_total", "Commits that only renewed the seat.")
CONTROLLER_SNAPSHOTS = _counter("automq_controller_snapshots_total", "Snapshots of the metadata written.")
CONTROLLER_UNKNOWN = _counter(
    "automq_controller_unknown_outcomes_total", "Conditional writes whose outcome had to be read back."
)
CONTROLLER_COMMIT_SECONDS = _gauge("automq_controller_last_commit_seconds", "How long the last commit took.")
CONTROLLER_WAITING = _gauge(
    "automq_controller_waiting", "Commands without an answer: in the commit under way or behind it."
)
CONTROLLER_COMMIT_DURATION = Metric(
    "automq_controller_commit_seconds", Kind.SUMMARY, "Batches of commands, from their first decision to confirmed."
)
CONTROLLER_BATCH = Metric("automq_controller_batch_commands", Kind.SUMMARY, "Commands that were committed together.")
CONTROLLER_HOLDER = _gauge("automq_controller_holder", "Broker id of the controller as known here; -1 if it is not.")
CONTROLLER_SESSIONS = _gauge(
    "automq_controller_sessions", "Active brokers whose heartbeats this controller watches; 0 at the others."
)
BROKERS = _gauge(
    "automq_brokers", "Brokers of the cluster by status; FENCED or RESCUING above 0 is an alert.", "status"
)
METADATA_SEQ = _gauge("automq_metadata_seq", "Commit up to which this broker knows the metadata.")
METADATA_STREAMS = _gauge("automq_metadata_streams", "Streams in the metadata: partitions of all topics.")
METADATA_OBJECTS = _gauge("automq_metadata_objects", "Live objects in the metadata.")
METADATA_UNFOLDED = _gauge(
    "automq_metadata_bytes_since_snapshot", "Commits that a start has to read on top of the newest snapshot."
)
TOPICS = _gauge("automq_topics", "Topics of the cluster.")
PARTITIONS = _gauge("automq_partitions_open", "Partitions that this broker serves.")
PARTITION_END = _gauge(
    "automq_partition_end_offset", "High watermark of a partition that this broker serves.", "topic", "partition"
)
PARTITION_END_OMITTED = _gauge(
    "automq_partition_end_omitted", "Rows of it that were left out because there are too many."
)
FETCH_WAITERS = _gauge("automq_fetch_waited_partitions", "Partitions for whose next records a Fetch waits.")

# --- moves and balance
MOVES_WAITING = _gauge("automq_moves_waiting", "Partitions that this broker serves and is to give up.")
MOVES_CLOSED = _counter("automq_moves_closed_total", "Partitions that this broker gave up.")
MOVES_WAVES = _counter("automq_moves_waves_total", "Waves in which it did so: uploads and commits they had in common.")
BALANCER_LOOKS = _counter(
    "automq_balancer_looks_total", "How often this broker, as the controller, evened out the load."
)
BALANCER_MOVES = _counter("automq_balancer_moves_total", "Partitions that it gave to others, by goal.", "goal")
BALANCER_UNDER_WAY = _gauge("automq_balancer_under_way", "Moves of the last batch that are not carried out yet.")
BALANCER_UNEVEN = _gauge(
    "automq_balancer_uneven", "1 for a goal that the last look could not meet; its reason is in /v1/decisions.", "goal"
)

# --- recoveries
RECOVERY_STAGES = Metric(
    "automq_recovery_stage_seconds",
    Kind.SUMMARY,
    "Time that brokers were out of service, by stage: FENCED (silent), RESCUING (an adopter drains the log), RECOVERING "
    "(starting on the log). Stages that ended since this process began; an orderly start has a RECOVERING as well.",
    ("stage",),
)
RECOVERY_AGE = _gauge(
    "automq_recovery_stage_age_seconds", "How long a broker has been in such a stage now.", "broker", "stage"
)
RECOVERY_LEFT = _gauge(
    "automq_recovery_partitions_left", "Partitions still open in the name of a broker whose log is drained.", "broker"
)

# --- consumer groups
GROUPS = _gauge("automq_groups", "Consumer groups that this broker coordinates, by state.", "state")
GROUP_MEMBERS = _gauge("automq_group_members", "Members of those groups.")
GROUP_OFFSET = _gauge(
    "automq_group_committed_offset", "Offset committed by a consumer group.", "group", "topic", "partition"
)
GROUP_LAG = _gauge(
    "automq_group_lag_records",
    "Records between the committed offset and the high watermark, where the coordinator serves the partition as well; else "
    "automq_partition_end_offset of the broker that does, less the committed offset.",
    "group",
    "topic",
    "partition",
)
GROUP_LAG_OMITTED = _gauge(
    "automq_group_lag_omitted", "Rows of the two metrics above that were left out because there are too many."
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of this page."""

__all__ = [
    "BACKPRESSURE",
    "BACKPRESSURE_TIMED_OUT",
    "BACKPRESSURE_WAITED",
    "BACKPRESSURE_WAITING",
    "BALANCER_LOOKS",
    "BALANCER_MOVES",
    "BALANCER_UNDER_WAY",
    "BALANCER_UNEVEN",
    "BROKERS",
    "BUCKET_BYTES",
    "BUCKET_DURATION",
    "BUCKET_REQUESTS",
    "BUCKET_TROUBLE",
    "BUILD_INFO",
    "CACHE_EVICTED",
    "CACHE_HITS",
    "CACHE_LIMIT",
    "CACHE_MISSES",
    "CACHE_USED",
    "CONNECTIONS",
    "CONNECTIONS_CLOSED",
    "CONNECTIONS_OPENED",
    "CONNECTIONS_REFUSED",
    "CONTROLLER_ACTIVE",
    "CONTROLLER_BATCH",
    "CONTROLLER_COMMANDS",
    "CONTROLLER_COMMITS",
    "CONTROLLER_COMMIT_DURATION",
    "CONTROLLER_COMMIT_SECONDS",
    "CONTROLLER_EPOCH",
    "CONTROLLER_HOLDER",
    "CONTROLLER_RENEWALS",
    "CONTROLLER_SESSIONS",
    "CONTROLLER_SNAPSHOTS",
    "CONTROLLER_UNKNOWN",
    "CONTROLLER_WAITING",
    "FETCH_WAITERS",
    "GROUPS",
    "GROUP_LAG",
    "GROUP_LAG_OMITTED",
    "GROUP_MEMBERS",
    "GROUP_OFFSET",
    "IN_FLIGHT_BYTES",
    "IN_FLIGHT_LIMIT",
    "LOOP_DELAY",
    "MEMORY_WAITERS",
    "METADATA_OBJECTS",
    "METADATA_SEQ",
    "METADATA_STREAMS",
    "METADATA_UNFOLDED",
    "METRICS",
    "MOVES_CLOSED",
    "MOVES_WAITING",
    "MOVES_WAVES",
    "NETWORK_BYTES",
    "PARTITIONS",
    "PARTITION_END",
    "PARTITION_END_OMITTED",
    "READY",
    "READ_BYTES",
    "RECOVERY_AGE",
    "RECOVERY_LEFT",
    "RECOVERY_STAGES",
    "REQUESTS",
    "REQUEST_BYTES",
    "REQUEST_DURATION",
    "REQUEST_ERRORS",
    "RESPONSE_BYTES",
    "STORAGE_ERRORS",
    "TOPICS",
    "UPLOAD_BYTES",
    "UPLOAD_LAG",
    "UPLOAD_OBJECTS",
    "UPLOAD_ROUNDS",
    "UPLOAD_ROUND_SECONDS",
    "WAL_BATCHES",
    "WAL_BYTES",
    "WAL_CAPACITY",
    "WAL_IN_FLIGHT",
    "WAL_USED",
    "WAL_WRITES",
    "Distribution",
    "Kind",
    "Metric",
    "Sample",
    "Total",
]
