"""DescribeLogDirs (key 35), versions 1-5.

Ours: a broker has one "log dir", its cluster's prefix in the bucket, named `s3`. A partition's size is the bytes of its
live ranges plus what the WAL still holds; total and usable bytes (v4) are unknown (-1): a bucket has no end.
Ignored: is_future_key and offset_lag are always false and 0.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.engine.partition import Partition
from automq_broker.wire.apis.k35_describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)

_LOG_DIR = "s3"


def handle(request: DescribeLogDirsRequest, context: RequestContext) -> DescribeLogDirsResponse:
    """Sizes of the partitions that this broker serves; null topics = all."""
    wanted: dict[str, set[int]] | None = None
    if request.topics is not None:
        wanted = {topic.topic: set(topic.partitions) for topic in request.topics}
    topics: dict[str, list[DescribeLogDirsPartition]] = {}
    for partition in context.desk.engine.open_partitions.by_stream.values():
        if wanted is None or partition.index in wanted.get(partition.topic, ()):
            topics.setdefault(partition.topic, []).append(_row(partition, context))
    result = DescribeLogDirsResult(
        log_dir=_LOG_DIR,
        topics=[DescribeLogDirsTopic(name=name, partitions=rows) for name, rows in topics.items()],
    )
    return DescribeLogDirsResponse(results=[result])


def _row(partition: Partition, context: RequestContext) -> DescribeLogDirsPartition:
    return DescribeLogDirsPartition(
        partition_index=partition.index, partition_size=context.desk.engine.size_bytes(partition), offset_lag=0
    )


__all__ = ["handle"]
