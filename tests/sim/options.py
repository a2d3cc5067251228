"""What a seed expands to: settings of the broker, shape of the world, weights of faults and of work. Printed on failure."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from random import Random
from typing import Any

from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.running import Budgets
from automq_broker.lake.compaction import CompactionKnobs
from automq_broker.wal.format import RING_POSITION

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """Sizes and speeds of what lies outside the process."""

    wal_bytes: int
    disk_latency_s: float
    bucket_latency_s: tuple[float, float]
    restart_delay_s: tuple[float, float]
    stop_grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """Who uses the broker, and how hard."""

    topics: int
    partitions_max: int
    idempotent_producers: int
    plain_producers: int
    consumers: int
    groups: int
    batch_records_max: int
    record_bytes_max: int
    pause_s: float
    """Mean pause of each client between two rounds."""
    admin_pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultOptions:
    """How long phases last, and how many kinds of faults come together."""

    phase_s: tuple[float, float]
    calm: float
    together_max: int
    rate: float
    """Probability per request or write of each fault of a phase, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """What many brokers have besides."""

    brokers: int
    has_disks: bool
    """False: every log lies in the bucket (s3.wal.path=s3)."""
    session_s: float
    heartbeat_s: float
    restart_grace_s: float
    """How long the operator waits for a broker that ended before its log is moved."""
    brake_s: float
    operator_interval_s: float
    network_delay_s: tuple[float, float]
    clock_offset_max_ms: int
    balances: bool
    """Whether the controller evens out the load by itself, and far more eagerly than anybody would want."""
    move_pause_s: float
    """Mean pause between two moves of partitions that somebody orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that a run depends on besides the code."""

    seed: int
    minutes: float
    engine: EngineKnobs
    control: ControlKnobs
    budgets: Budgets
    group_snapshot_bytes: int
    world: WorldOptions
    work: WorkOptions
    faults: FaultOptions
    cluster: ClusterOptions | None = None
    """None for a broker that is alone."""

    def lines(self) -> Iterator[str]:
        """One setting a line."""
        return _lines("", self)


def expand(seed: int, minutes: float = 3.0) -> Options:
    """The options of a seed; `minutes` of virtual time with faults, before the heal."""
    rng = Random(f"options {seed}")
    return Options(
        seed=seed,
        minutes=minutes,
        engine=_engine(rng),
        control=_control(rng),
        budgets=Budgets(tail_cache_bytes=_size(rng, 8, 1024), block_cache_bytes=_size(rng, 4, 256)),
        group_snapshot_bytes=_size(rng, 1, 64),
        world=WorldOptions(
            wal_bytes=RING_POSITION + rng.choice((256, 320, 512, 1024, 3072)) * KIB,
            disk_latency_s=rng.choice((0.0, 0.0005, 0.005)),
            bucket_latency_s=rng.choice(((0.0, 0.0), (0.001, 0.03), (0.01, 0.08))),
            restart_delay_s=(0.05, rng.choice((0.2, 2.0, 8.0))),
            stop_grace_s=15.0,
        ),
        work=_work(rng),
        faults=FaultOptions(
            phase_s=rng.choice(((2.0, 10.0), (5.0, 30.0))),
            calm=0.25,
            together_max=rng.choice((1, 3, 6)),
            rate=rng.choice((0.02, 0.1, 0.4)),
        ),
    )


def _engine(rng: Random) -> EngineKnobs:
    return EngineKnobs(
        upload_threshold_bytes=_size(rng, 4, 256),
        upload_interval_s=rng.choice((0.5, 3.0, 15.0)),
        object_size_bytes_max=_size(rng, 4, 512),
        upload_bytes_max=_size(rng, 8, 1024),
        split_size_bytes=_size(rng, 1, 128),
        block_size_bytes=_size(rng, 1, 32),
        in_flight_bytes_max=rng.choice((1024, 2048, 16_384)) * KIB,
        idle_block_delay_s=rng.choice((0.01, 0.1)),
        superblock_interval_s=rng.choice((0.05, 1.0)),
        superblock_bytes=_size(rng, 4, 256),
        catch_up_concurrency=rng.choice((1, 4)),
        index_cache_entries=rng.choice((1, 20, 1000)),
        retention_interval_s=rng.choice((3.0, 20.0)),
        compaction_interval_s=rng.choice((2.0, 10.0, 30.0)),
        delete_grace_ms=rng.choice((0, 2_000, 30_000)),
        delete_interval_s=rng.choice((0.5, 3.0, 60.0)),
        sweep_interval_s=rng.choice((0.5, 10.0, 120.0)),
        id_block_count=rng.choice((1, 3, 100)),
        id_block_age_ms=rng.choice((20_000, 60_000, 200_000)),
        compaction=CompactionKnobs(
            own_bytes=_size(rng, 4, 64),
            object_bytes_max=_size(rng, 32, 256),
            major_bytes_max=_size(rng, 64, 512),
            force_age_ms=rng.choice((5_000, 30_000)),
            objects_pressing=rng.choice((5, 100)),
            merge_count_min=rng.choice((2, 4, 10)),
            inputs_max=rng.choice((3, 20, 4000)),
        ),
        compaction_concurrency=rng.choice((1, 8)),
        commit_delay_s=rng.choice((0.0, 3.0)),
    )


def _control(rng: Random) -> ControlKnobs:
    return ControlKnobs(
        renew_interval_s=rng.choice((0.5, 3.0)),
        inline_bytes_max=rng.choice((0, 300, 4096, 65_536)),
        snapshot_commits=rng.choice((3, 20, 200)),
        snapshot_bytes=_size(rng, 4, 256),
        batch_max=rng.choice((1, 5, 5000)),
        load_concurrency=rng.choice((1, 16)),
        backoff_max_s=rng.choice((0.5, 5.0)),
    )


def _work(rng: Random) -> WorkOptions:
    return WorkOptions(
        topics=rng.randint(1, 4),
        partitions_max=rng.randint(1, 4),
        idempotent_producers=rng.randint(1, 3),
        plain_producers=rng.randint(0, 2),
        consumers=rng.randint(1, 3),
        groups=rng.randint(0, 2),
        batch_records_max=rng.choice((1, 3, 20)),
        record_bytes_max=rng.choice((30, 300, 3000)),
        pause_s=rng.choice((0.1, 0.3, 1.0)),
        admin_pause_s=rng.choice((2.0, 10.0)),
    )


def _size(rng: Random, low_kib: int, high_kib: int) -> int:
    """Bytes between two sizes, every power of two as likely as the others."""
    sizes = [low_kib * KIB]
    while sizes[-1] < high_kib * KIB:
        sizes.append(sizes[-1] * 2)
    return rng.choice(sizes)


def _lines(prefix: str, value: Any) -> Iterator[str]:
    for field in fields(value):
        inner = getattr(value, field.name)
        if inner is None:
            continue
        if is_dataclass(inner):
            yield from _lines(f"{prefix}{field.name}.", inner)
        else:
            yield f"{prefix}{field.name} = {inner}"


__all__ = ["ClusterOptions", "FaultOptions", "Options", "WorkOptions", "WorldOptions", "expand"]
