"""A bucket as the settings name it: opened, checked, and closed again at the end."""

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import AsyncIterator, Callable

from automq_broker.adapters.bucket_selftest import check_bucket
from automq_broker.adapters.bucket_uri import DirectoryLocation, open_bucket, parse_bucket_uri
from automq_broker.adapters.metered_bucket import MeteredBucket
from automq_broker.kernel.errors import Refused
from automq_broker.ports import Bucket, BucketDenied, BucketUnavailable

log = logging.getLogger("automq.broker")

_FIRST_DELAY_S = 0.5
_DELAY_S_MAX = 5.0


@contextlib.asynccontextmanager
async def checked_bucket(uri: str, say: Callable[[str], None]) -> AsyncIterator[MeteredBucket]:
    """The bucket, once it has proved its promises. Raises Refused where only the user can help.

    A service that throttles or does not answer is waited for, however long: a broker that crash-looped on its 503s
    would only add to them. `say` hears what is waited for. A local directory that fails is refused instead.
    """
    is_local = isinstance(parse_bucket_uri(uri), DirectoryLocation)
    try:
        bucket = MeteredBucket(open_bucket(uri))
    except (BucketDenied, BucketUnavailable) as error:
        raise Refused(f"the bucket cannot be opened: {error}") from error
    try:
        await _check(bucket, is_local=is_local, say=say)
        yield bucket
    finally:
        await bucket.close()


async def _check(bucket: Bucket, *, is_local: bool, say: Callable[[str], None]) -> None:
    delay_s = _FIRST_DELAY_S
    while True:
        try:
            return await check_bucket(bucket, uuid.uuid4().hex)
        except BucketUnavailable as error:
            if is_local:
                raise Refused(f"the bucket cannot be used: {error}") from error
            say(f"the bucket does not answer: {error}")
            log.warning("the bucket does not answer", extra={"reason": error, "next_try_s": delay_s})
        await asyncio.sleep(random.uniform(delay_s / 2, delay_s))
        delay_s = min(delay_s * 2, _DELAY_S_MAX)


__all__ = ["checked_bucket"]
