"""The engine's settings, cut from the user's settings by assembly. Sizes in bytes, times in seconds unless named."""

from dataclasses import dataclass, field

from automq_broker.lake.compaction import CompactionKnobs

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

    upload_bytes_max: int = 128 * MIB
    """Bytes of objects that are on their way to the bucket at the same time (automq.upload.memory.size)."""

    commit_delay_s: float = 3.0
    """Stored objects of a round wait this long at most for others to be committed with; 0 = each on its own."""

    split_size_bytes: int = 8 * MIB
    """A stream with at least this much gets an object of its own (s3.stream.object.split.size)."""

    block_size_bytes: int = 512 * 1024
    """Target size of a data block inside an object (s3.object.block.size)."""

    in_flight_bytes_max: int = 16 * MIB
    """Bytes handed to the WAL device and not yet durable; also the window that recovery scans past a break."""

    group_interval_s: float = 0.0
    """Groups are handed to the device at least this far apart: where a write costs money. 0 = as the device takes them."""

    group_bytes_enough: int = MIB
    """A forming group this large is handed over at once, whatever is in flight."""

    groups_in_flight_max: int = 2
    """One group on the device and one queued behind it: the writer never idles, and the next group grows meanwhile."""

    idle_block_delay_s: float = 0.1
    """An idle WAL proves its last acks durable with one more block after this long."""

    wal_heartbeat_s: float = 1.0
    """A WAL to which nothing was written for this long is written to, to know that its volume is still there."""

    ring_soft_fraction: float = 0.75
    """Above this fill, produce is slowed to the pace at which uploads drain the ring."""

    ring_hard_fraction: float = 0.95
    """Above this fill, only internal topics may enter the ring."""

    superblock_interval_s: float = 1.0
    """The trim point is written at most this late, or after `superblock_bytes`."""

    superblock_bytes: int = 64 * MIB

    catch_up_concurrency: int = 16
    """Ranged GETs of cold reads in flight at once; their own lane, so that they never slow the tail."""

    index_cache_entries: int = 200_000
    """Decoded index entries of objects kept in memory (about 150 bytes each)."""

    decompress_limit_bytes: int = 64 * MIB
    """No batch unfolds beyond this where the broker must look inside (compacted topics, compression.type)."""

    decompress_limit_ratio: int = 128
    """Nor beyond this many times its size, once it is large (see wire/compression)."""

    retention_interval_s: float = 300.0
    """How often retention is looked at (log.retention.check.interval.ms)."""

    producer_check_interval_s: float = 600.0
    """How often silent producers are looked for (producer.id.expiration.check.interval.ms)."""

    upload_batches_max: int = 100_000
    """Batches of one upload round (some 400 bytes of memory each); what is left goes with the next one."""

    compaction_interval_s: float = 300.0
    """How often compaction is planned (s3.stream.set.object.compaction.interval.minutes)."""

    compaction_concurrency: int = 16
    """Ranged GETs of compaction in flight at once."""

    compaction: CompactionKnobs = field(default_factory=CompactionKnobs)
    """What compaction takes and makes (s3.stream.set.object.compaction.*)."""

    delete_grace_ms: int = 600_000
    """A replaced or expired object stays readable this long before it is deleted."""

    delete_interval_s: float = 60.0
    """How often objects whose grace is over are deleted; sweeps begin in the same rhythm."""

    sweep_interval_s: float = 3600.0
    """How often blocks of object ids are retired and orphans looked for (automq.sweep.interval.ms)."""

    id_block_count: int = 1000
    """Object ids taken from the controller at once."""

    id_block_age_ms: int = 7_200_000
    """A block of object ids is retired, and its orphans swept, once it is this old."""


__all__ = ["MIB", "EngineKnobs"]
