"""How commands reach a cluster's bucket without a broker: opened from the settings, and never waited for without end."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from automq_broker.kernel.errors import Refused
from automq_broker.ports import Bucket
from automq_broker.settings import Settings

T = TypeVar("T")

PATIENCE_S = 20.0
"""How long a bucket may fail before the command gives up."""


def run_offline(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of its own; Ctrl-C cancels it and raises KeyboardInterrupt."""
    from automq_broker.adapters.loop import run_loop  # noqa: PLC0415 - asyncio and uvloop, only when there is work

    return run_loop(work)


@asynccontextmanager
async def opened_bucket(settings: Settings) -> AsyncIterator[Bucket]:
    """The bucket of `settings`, which must exist. Raises Refused with one clear line."""
    async with bucket_at(settings.bucket_uri) as bucket:
        yield bucket


@asynccontextmanager
async def bucket_at(uri: str) -> AsyncIterator[Bucket]:
    """The bucket that a URI names, which must exist. Raises Refused with one clear line."""
    from random import Random  # noqa: PLC0415

    from automq_broker.adapters.bucket_uri import (  # noqa: PLC0415
        DirectoryLocation,
        open_bucket,
        parse_bucket_uri,
    )
    from automq_broker.engine.impatient import ImpatientBucket  # noqa: PLC0415

    location = parse_bucket_uri(uri)
    if isinstance(location, DirectoryLocation) and not location.path.is_dir():
        raise Refused(f"no bucket at {location.path}: name it with --bucket URI or --data DIR")
    bucket = open_bucket(uri)
    try:
        yield ImpatientBucket(bucket, Random(), PATIENCE_S)
    finally:
        await bucket.close()


__all__ = ["PATIENCE_S", "bucket_at", "opened_bucket", "run_offline"]
