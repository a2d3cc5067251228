"""The bucket, the write-ahead log between clients and bucket, caches, and what runs behind them."""

from automq_broker.settings.fields import GIB, INT_MAX, KIB, MIB, Group, integer, long, text

_AUTOMQ = "AutoMQ's default."


class BucketSettings(Group):
    """Objects: where they lie, how large they are, how they are merged and deleted."""

    data_buckets: str | None = text(
        "s3.data.buckets",
        None,
        meaning="The bucket: s3://name?endpoint=...&region=..., AutoMQ's 0@s3://... form, or file:///directory.",
        why="Unset: a directory below automq.data.dir, which needs no service at all.",
    )
    upload_threshold: int = long(
        "s3.wal.upload.threshold",
        -1,
        low=-1,
        unit="bytes",
        meaning="Upload when this much is durable in the write-ahead log and not yet in the bucket.",
        why="-1: the smaller of 500 MiB and a third of the write-ahead log.",
    )
    upload_interval_ms: int = long(
        "s3.wal.upload.interval.ms",
        60_000,
        low=100,
        unit="ms",
        meaning="Upload at least this often while anything waits.",
        why=_AUTOMQ,
    )
    split_size: int = integer(
        "s3.stream.object.split.size",
        8 * MIB,
        low=MIB,
        unit="bytes",
        meaning="A partition with at least this much in an upload gets an object of its own.",
        why=_AUTOMQ,
    )
    block_size: int = integer(
        "s3.object.block.size",
        512 * KIB,
        low=4 * KIB,
        unit="bytes",
        meaning="Target size of a block inside an object, the unit of reading.",
        why=_AUTOMQ,
    )
    part_size: int = integer(
        "s3.object.part.size",
        64 * MIB,
        low=5 * MIB,
        unit="bytes",
        meaning="Parts in which larger objects are uploaded; S3's least is 5 MiB.",
        why="64 MiB: fewer requests to pay for than AutoMQ's 16 MiB.",
    )
    set_compaction_interval_minutes: int = integer(
        "s3.stream.set.object.compaction.interval.minutes",
        5,
        low=1,
        unit="min",
        meaning="How often objects shared by several partitions are looked at for splitting.",
        why=_AUTOMQ,
    )
    set_compaction_split_size: int = integer(
        "s3.stream.set.object.compaction.stream.split.size",
        64 * MIB,
        low=MIB,
        high=128 * MIB,
        unit="bytes",
        meaning="A partition with this much in shared objects gets objects of its own.",
        why="64 MiB: an eighth of the requests that AutoMQ's 8 MiB cost, and no object to be merged once more.",
    )
    set_compaction_force_split_minutes: int = integer(
        "s3.stream.set.object.compaction.force.split.minutes",
        120,
        low=1,
        unit="min",
        meaning="Shared objects of this age are joined or rewritten even when no partition has gathered enough.",
        why=_AUTOMQ,
    )
    set_compaction_max_num: int = integer(
        "s3.stream.set.object.compaction.max.num",
        4000,
        low=1,
        meaning="The most shared objects that one compaction takes.",
        why="4000: uploads are cut into objects of 64 MiB, so as much data as AutoMQ's 500.",
    )
    delete_retention_minutes: int = integer(
        "s3.object.delete.retention.minutes",
        10,
        low=0,
        unit="min",
        meaning="How long an object that is no longer needed stays readable before it is deleted.",
        why="10: readers in flight and mistakes get time.",
    )
    sweep_interval_ms: int = long(
        "automq.sweep.interval.ms",
        3_600_000,
        low=1000,
        unit="ms",
        meaning="How often the controller looks for objects that no metadata know: uploads that were cut short.",
        why="1 h: they cost storage only, and a look lists the bucket.",
    )


class WalSettings(Group):
    """The write-ahead log."""

    path: str | None = text(
        "s3.wal.path",
        None,
        meaning="The write-ahead log: file:///path, block:///dev/name; or without a disk: s3 (in the bucket of "
        "s3.data.buckets) or 0@s3://name?... (in another). Change the kind after an orderly stop.",
        why="Unset: a file below automq.data.dir. A disk acknowledges in milliseconds, S3 in some hundred.",
    )
    capacity: int = long(
        "s3.wal.capacity",
        GIB,
        low=-1,
        unit="bytes",
        meaning="Size of the write-ahead log's ring, 67108864 or more; it must hold what waits for upload. -1: 95 % of its "
        "volume, which is then its own; it grows with it, at a start after an orderly stop.",
        why="1 GiB: a laptop's disk is not the log's alone.",
    )
    iops: int = integer(
        "s3.wal.iops",
        -1,
        low=-1,
        high=INT_MAX,
        unit="1/s",
        meaning="Writes per second that the volume allows; writes are grouped to stay below.",
        why="-1: no limit, as on a laptop's disk. A gp3 volume has 3000.",
    )
    bandwidth: int = long(
        "s3.wal.bandwidth",
        -1,
        low=-1,
        unit="bytes/s",
        meaning="Bytes per second that the volume allows.",
        why="-1: no limit. A gp3 volume has 131072000.",
    )


class CacheSettings(Group):
    """Memory for records."""

    wal_cache_size: int = long(
        "s3.wal.cache.size",
        128 * MIB,
        low=8 * MIB,
        unit="bytes",
        meaning="Cache of the newest records of all partitions.",
        why="128 MiB on a laptop; 512 MiB serve a pod well.",
    )
    block_cache_size: int = long(
        "s3.block.cache.size",
        64 * MIB,
        low=8 * MIB,
        unit="bytes",
        meaning="Cache of blocks read back from the bucket, with read-ahead.",
        why="64 MiB on a laptop; 256 MiB serve a pod well.",
    )
    upload_memory_size: int = long(
        "automq.upload.memory.size",
        128 * MIB,
        low=8 * MIB,
        unit="bytes",
        meaning="Memory for objects on their way to the bucket; an object larger than this travels alone.",
        why="128 MiB: two objects of s3.object.part.size at a time.",
    )


__all__ = ["BucketSettings", "CacheSettings", "WalSettings"]
