"""The figures of a running broker as samples of the contract: one function per part, all read in one step of the loop."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Protocol

from automq_broker.admin import cluster_views
from automq_broker.cluster.balance import Goal
from automq_broker.contract import metrics
from automq_broker.contract.metrics import Sample, Total
from automq_broker.engine.admission import Admission
from automq_broker.engine.balancing import Balancer
from automq_broker.engine.control_values import Role
from automq_broker.engine.metadata_node import Controlling
from automq_broker.engine.recoveries import Recoveries
from automq_broker.engine.running import Running
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.state import State

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


def engine_samples(running: Running) -> Iterator[Sample]:
    """Write-ahead log, back-pressure, upload, caches, reads."""
    yield from _wal(running)
    yield from _backpressure(running.admission)
    yield from _upload(running)
    yield from _reads(running)


def _wal(running: Running) -> Iterator[Sample]:
    figures = running.engine.appender.statistics()
    yield Sample(metrics.WAL_CAPACITY, running.admission.capacity_bytes)
    yield Sample(metrics.WAL_USED, running.admission.used_bytes)
    yield Sample(metrics.WAL_WRITES, running.engine.appender.write_seconds.distribution())
    yield Sample(metrics.WAL_BATCHES, figures["batches"])
    yield Sample(metrics.WAL_BYTES, figures["bytes"])
    yield Sample(metrics.WAL_IN_FLIGHT, figures["in_flight_bytes"])


def _backpressure(admission: Admission) -> Iterator[Sample]:
    yield Sample(metrics.BACKPRESSURE, 2 if admission.is_full else int(admission.is_slowing))
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
    yield Sample(metrics.CACHE_EVICTED, tail.evicted_blocks, ("tail",))
    yield Sample(metrics.CACHE_EVICTED, blocks.evictions, ("block",))
    yield Sample(metrics.CACHE_HITS, blocks.hits)
    yield Sample(metrics.CACHE_MISSES, blocks.misses)
    yield Sample(metrics.READ_BYTES, reader.tail_bytes_total, ("tail",))
    yield Sample(metrics.READ_BYTES, reader.ring.bytes_total, ("ring",))
    yield Sample(metrics.READ_BYTES, running.cold.bytes_total, ("bucket",))
    yield Sample(metrics.STORAGE_ERRORS, reader.storage_errors_total)
    yield Sample(metrics.FETCH_WAITERS, running.engine.waiters.waiting)
    yield Sample(metrics.PARTITIONS, len(running.engine.open_partitions.by_stream))


def control_samples(control: Controlling) -> Iterator[Sample]:
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
    yield Sample(metrics.CONTROLLER_COMMIT_DURATION, Total(figures.batches, figures.commit_s))
    yield Sample(metrics.CONTROLLER_BATCH, Total(figures.batches, figures.commands))
    holder = control.holder
    yield Sample(metrics.CONTROLLER_HOLDER, -1 if holder is None else holder.node_id)
    yield from _metadata(control.state)
    yield Sample(metrics.METADATA_SEQ, figures.seq)
    yield Sample(metrics.METADATA_UNFOLDED, figures.bytes_since_snapshot)


def _metadata(state: State) -> Iterator[Sample]:
    yield Sample(metrics.TOPICS, len(state.topic_ids))
    yield Sample(metrics.METADATA_STREAMS, len(state.streams))
    yield Sample(metrics.METADATA_OBJECTS, len(state.objects))
    statuses = Counter(node.status for node in state.nodes.values())
    for status in NodeStatus:
        yield Sample(metrics.BROKERS, statuses[status], (status.name,))


def move_samples(running: Running) -> Iterator[Sample]:
    """Partitions that go from here to other brokers."""
    yield Sample(metrics.MOVES_WAITING, len(running.engine.open_partitions.unwanted))
    yield Sample(metrics.MOVES_CLOSED, running.closer.closed_total)
    yield Sample(metrics.MOVES_WAVES, running.closer.waves_total)


def balancer_samples(balancer: Balancer) -> Iterator[Sample]:
    """What the balancer did, and what the last look left uneven."""
    yield Sample(metrics.CONTROLLER_SESSIONS, balancer.sessions)
    yield Sample(metrics.BALANCER_LOOKS, balancer.looks_total)
    yield Sample(metrics.BALANCER_UNDER_WAY, balancer.under_way)
    stuck = {each.subject for each in balancer.latest.refusals if each.kind == "stuck"} if balancer.latest else set()
    for goal in Goal:
        yield Sample(metrics.BALANCER_MOVES, balancer.moves_total[goal], (goal,))
        yield Sample(metrics.BALANCER_UNEVEN, int(goal in stuck), (goal,))


def recovery_samples(recoveries: Recoveries, state: State) -> Iterator[Sample]:
    """Brokers out of service: how long each stage took, and those that are in one now."""
    for stage, spent in recoveries.ended.items():
        yield Sample(metrics.RECOVERY_STAGES, Total(spent.times, spent.seconds), (stage.name,))
    under_way = recoveries.under_way()
    for node_id, stage, seconds in under_way:
        yield Sample(metrics.RECOVERY_AGE, seconds, (str(node_id), stage.name))
    if any(stage is NodeStatus.RESCUING for _, stage, _ in under_way):  # it looks at every partition
        for each in cluster_views.recoveries(state).recoveries:
            yield Sample(metrics.RECOVERY_LEFT, each.partitions_left, (str(each.node_id),))


def end_samples(ends: Collection[tuple[str, int, int]]) -> Iterator[Sample]:
    """How far each partition that is served here reaches: any group's lag follows from it, whoever coordinates the group.

    `ends` are (topic, partition, high watermark). Above LAG_ROWS_MAX rows the rest is left out and counted.
    """
    for topic, partition, end in islice(ends, LAG_ROWS_MAX):
        yield Sample(metrics.PARTITION_END, end, (topic, str(partition)))
    yield Sample(metrics.PARTITION_END_OMITTED, max(0, len(ends) - LAG_ROWS_MAX))


def ends_of_partitions(running: Running) -> list[tuple[str, int, int]]:
    """(topic, partition, high watermark) of everything that this broker serves."""
    served = running.engine.open_partitions.by_name
    return [(topic, number, partition.log.high_watermark) for (topic, number), partition in served.items()]


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
    "balancer_samples",
    "control_samples",
    "end_of_partitions",
    "end_samples",
    "ends_of_partitions",
    "engine_samples",
    "front_samples",
    "group_samples",
    "move_samples",
    "recovery_samples",
]
