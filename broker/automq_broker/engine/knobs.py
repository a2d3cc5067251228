"""The engine's settings, cut from the user's settings by assembly. Sizes in bytes, times in seconds unless named."""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKnobs:
    """One value per decision that the engine makes; the defaults are a laptop's (DESIGN: write path)."""

    upload_threshold_bytes: int = 341 * MIB
    """Upload when this much is durable and not yet in the bucket (s3.wal.upload.threshold)."""

    upload_interval_s: float = 60.0
    """Upload at least this often while anything waits (s3.wal.upload.interval.ms)."""

    object_size_bytes_max: int = 64 * MIB
    """No object of one upload grows beyond this; it bounds memory and makes multipart unnecessary."""

    upload_concurrency: int = 3
    """Objects of one upload that are on their way at the same time."""

    split_size_bytes: int = 8 * MIB
    """A stream with at least this much gets an object of its own (s3.stream.object.split.size)."""

    block_size_bytes: int = 512 * 1024
    """Target size of a data block inside an object (s3.object.block.size)."""

    in_flight_bytes_max: int = 16 * MIB
    """Bytes handed to the WAL device and not yet durable; also the window that recovery scans past a break."""

    idle_block_delay_s: float = 0.1
    """An idle WAL proves its last acks durable with one more block after this long."""

    ring_soft_fraction: float = 0.75
    """Above this fill, produce is slowed to the pace at which uploads drain the ring."""

    ring_hard_fraction: float = 0.95
    """Above this fill, only internal topics may enter the ring."""

    superblock_interval_s: float = 1.0
    """The trim point is written at most this late, or after `superblock_bytes`."""

    superblock_bytes: int = 64 * MIB

    catch_up_concurrency: int = 4
    """Ranged GETs of cold reads in flight at once; their own lane, so that they never slow the tail."""

    catch_up_bytes_max: int = 64 * MIB
    """Bytes that cold reads may have in flight together."""

    index_cache_entries: int = 200_000
    """Decoded index entries of objects kept in memory (about 150 bytes each)."""

    decompress_limit_bytes: int = 64 * MIB
    decompress_limit_ratio: int = 32

    retention_interval_s: float = 300.0
    """How often retention is looked at (log.retention.check.interval.ms)."""

    compaction_interval_s: float = 300.0
    """How often compaction is planned (s3.stream.set.object.compaction.interval.minutes)."""

    delete_grace_ms: int = 600_000
    """A replaced or expired object stays readable this long before it is deleted."""

    sweep_interval_s: float = 3600.0
    """How often blocks of object ids are retired and orphans looked for."""

    id_block_count: int = 1000
    """Object ids taken from the controller at once."""

    id_block_age_ms: int = 7_200_000
    """A block of object ids is retired, and its orphans swept, once it is this old."""


__all__ = ["MIB", "EngineKnobs"]
