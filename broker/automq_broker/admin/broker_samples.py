"""The figures of a running broker as samples of the contract: one function per part, all read in one step of the loop."""

from collections.abc import Callable, Iterator
from typing import Protocol

from automq_broker.contract import metrics
from automq_broker.contract.metrics import Sample, Total
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import Role
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.start import Running
from automq_broker.kernel.errors import ClientFault

LAG_ROWS_MAX = 20_000
_GROUPS = "groups_"


class Front(Protocol):
    """What is asked of the server of Kafka connections."""

    @property
    def in_flight_bytes(self) -> int:
        """Bytes that unanswered requests hold."""

    @property
    def in_flight_limit_bytes(self) -> int:
        """Their limit."""

    @property
    def waiting_for_memory(self) -> int:
        """Connections that are not read because of it."""


class Groups(Protocol):
    """What is asked of the group coordinators."""

    def committed_offsets(self) -> Iterator[tuple[str, str, int, int]]:
        """(group, topic, partition, offset) of every commit."""

    def statistics(self) -> dict[str, int]:
        """Counts by name."""


def front_samples(front: Front) -> Iterator[Sample]:
    """Memory of requests."""
    yield Sample(metrics.IN_FLIGHT_BYTES, front.in_flight_bytes)
    yield Sample(metrics.IN_FLIGHT_LIMIT, front.in_flight_limit_bytes)
    yield Sample(metrics.MEMORY_WAITERS, front.waiting_for_memory)


def engine_samples(running: Running, knobs: EngineKnobs) -> Iterator[Sample]:
    """Write-ahead log, back-pressure, upload, caches, reads."""
    yield from _wal(running)
    yield from _backpressure(running, knobs)
    yield from _upload(running)
    yield from _reads(running)


def _wal(running: Running) -> Iterator[Sample]:
    figures = running.engine.appender.statistics()
    capacity = running.device.capacity_bytes
    yield Sample(metrics.WAL_CAPACITY, capacity)
    yield Sample(metrics.WAL_USED, max(0, capacity - running.writer.free_bytes))
    yield Sample(metrics.WAL_WRITES, Total(figures["groups"], figures["write_seconds"]))
    yield Sample(metrics.WAL_BATCHES, figures["batches"])
    yield Sample(metrics.WAL_BYTES, figures["bytes"])
    yield Sample(metrics.WAL_IN_FLIGHT, figures["in_flight_bytes"])


def _backpressure(running: Running, knobs: EngineKnobs) -> Iterator[Sample]:
    admission = running.admission
    fill = 1 - running.writer.free_bytes / running.device.capacity_bytes
    state = 2 if fill > knobs.ring_hard_fraction else 1 if admission.waiting or fill > knobs.ring_soft_fraction else 0
    yield Sample(metrics.BACKPRESSURE, state)
    yield Sample(metrics.BACKPRESSURE_WAITING, admission.waiting)
    yield Sample(metrics.BACKPRESSURE_WAITED, admission.waited_total)
    yield Sample(metrics.BACKPRESSURE_TIMED_OUT, admission.timed_out_total)


def _upload(running: Running) -> Iterator[Sample]:
    uploader = running.engine.uploader
    yield Sample(metrics.UPLOAD_OBJECTS, uploader.objects_total)
    yield Sample(metrics.UPLOAD_BYTES, uploader.bytes_total)
    yield Sample(metrics.UPLOAD_ROUNDS, uploader.rounds_total)
    yield Sample(metrics.UPLOAD_ROUND_SECONDS, uploader.last_round_s)
    yield Sample(metrics.UPLOAD_LAG, uploader.waiting_bytes)


def _reads(running: Running) -> Iterator[Sample]:
    tail, blocks, reader = running.cache.statistics(), running.blocks.statistics(), running.engine.reader
    yield Sample(metrics.CACHE_LIMIT, tail.budget_bytes, ("tail",))
    yield Sample(metrics.CACHE_LIMIT, blocks.budget_bytes, ("block",))
    yield Sample(metrics.CACHE_USED, tail.used_bytes, ("tail",))
    yield Sample(metrics.CACHE_USED, blocks.used_bytes, ("block",))
    yield Sample(metrics.CACHE_EVICTED, tail.evicted_entries, ("tail",))
    yield Sample(metrics.CACHE_EVICTED, blocks.evictions, ("block",))
    yield Sample(metrics.CACHE_HITS, blocks.hits)
    yield Sample(metrics.CACHE_MISSES, blocks.misses)
    yield Sample(metrics.READ_BYTES, reader.tail_bytes_total, ("tail",))
    yield Sample(metrics.READ_BYTES, reader.ring_bytes_total, ("ring",))
    yield Sample(metrics.READ_BYTES, running.cold.bytes_total, ("bucket",))
    yield Sample(metrics.STORAGE_ERRORS, reader.storage_errors_total)
    yield Sample(metrics.FETCH_WAITERS, running.engine.waiters.waiting)
    yield Sample(metrics.PARTITIONS, len(running.engine.open_partitions.by_stream))


def control_samples(control: Control) -> Iterator[Sample]:
    """The controller's loop, and the metadata's size."""
    figures = control.statistics()
    yield Sample(metrics.CONTROLLER_ACTIVE, int(figures.role is Role.HOLDER))
    yield Sample(metrics.CONTROLLER_EPOCH, figures.epoch)
    yield Sample(metrics.CONTROLLER_COMMITS, figures.commits)
    yield Sample(metrics.CONTROLLER_COMMANDS, figures.commands)
    yield Sample(metrics.CONTROLLER_RENEWALS, figures.renewals)
    yield Sample(metrics.CONTROLLER_SNAPSHOTS, figures.snapshots)
    yield Sample(metrics.CONTROLLER_UNKNOWN, figures.unknown_outcomes)
    yield Sample(metrics.CONTROLLER_COMMIT_SECONDS, figures.last_commit_s)
    yield Sample(metrics.CONTROLLER_WAITING, figures.waiting)
    yield Sample(metrics.BUCKET_TROUBLE, int(figures.trouble is not None))
    yield Sample(metrics.TOPICS, sum(1 for _ in control.state.topics()))


def group_samples(groups: Groups, end_of: Callable[[str, int], int | None]) -> Iterator[Sample]:
    """Groups by state, and the position and lag of each group on each partition.

    `end_of` gives a partition's high watermark, or None where another broker serves it; there the lag is not known here.
    Above LAG_ROWS_MAX rows the rest is left out and counted: a scrape must not grow with whatever clients make up.
    """
    figures = groups.statistics()
    for name, count in figures.items():
        if name.startswith(_GROUPS):
            yield Sample(metrics.GROUPS, count, (name.removeprefix(_GROUPS),))
    yield Sample(metrics.GROUP_MEMBERS, figures.get("members", 0))
    omitted = 0
    for row, (group, topic, partition, offset) in enumerate(groups.committed_offsets()):
        if row >= LAG_ROWS_MAX:
            omitted += 1
            continue
        labels = (group, topic, str(partition))
        yield Sample(metrics.GROUP_OFFSET, offset, labels)
        end = end_of(topic, partition)
        if end is not None:
            # A commit beyond the end (a topic made anew, an offset set by hand) is no negative debt.
            yield Sample(metrics.GROUP_LAG, max(0, end - offset), labels)
    yield Sample(metrics.GROUP_LAG_OMITTED, omitted)


def end_of_partitions(running: Running) -> Callable[[str, int], int | None]:
    """High watermarks of the partitions that this broker serves."""

    def end_of(topic: str, partition: int) -> int | None:
        try:
            return running.engine.partition(topic, partition).log.high_watermark
        except ClientFault:
            return None

    return end_of


__all__ = [
    "LAG_ROWS_MAX",
    "control_samples",
    "end_of_partitions",
    "engine_samples",
    "front_samples",
    "group_samples",
]
