"""Prove at the start that a bucket keeps the promises that metadata and fencing stand on.

A store that answers 200 to a conditional write whose condition fails would let two controllers, or two writers of one
object, win at once. Such stores exist, so nothing is taken on trust.
"""

from automq_broker.kernel.errors import Refused
from automq_broker.ports import Bucket, BucketDenied, NotFound, PreconditionFailed

_PREFIX = "selftest/"


async def check_bucket(bucket: Bucket, nonce: str) -> None:
    """Write, read, list and delete one throw-away key below selftest/, with every condition met and unmet once.

    `nonce` makes the key this call's own: letters and digits, never used before. About ten requests.
    Raises Refused with one clear line when the bucket breaks a promise or denies access. Raises BucketUnavailable when
    it cannot be reached; the whole check may then be repeated with another nonce.
    """
    key = f"{_PREFIX}{nonce}"
    try:
        await _check_create(bucket, key)
        await _check_replace(bucket, key)
        await _check_listing(bucket, key)
        await bucket.delete_many([key])
        await _check_gone(bucket, key)
    except BucketDenied as error:
        raise Refused(f"the bucket denies access: {error}") from error


async def _check_create(bucket: Bucket, key: str) -> None:
    try:
        await bucket.put(key, [b"first"], if_absent=True)
    except PreconditionFailed:
        raise Refused("the bucket says that a key exists which nobody ever wrote (If-None-Match: *)") from None
    try:
        await bucket.put(key, [b"second"], if_absent=True)
    except PreconditionFailed:
        pass
    else:
        raise Refused(
            "this store ignores If-None-Match on PUT: two writers could both create one object. "
            "Use a store with conditional writes (AWS S3, SeaweedFS, MinIO, Cloudflare R2)"
        )
    if bytes(await bucket.get(key)) != b"first":
        raise Refused("the bucket answered 412 to a conditional write and stored it all the same")


async def _check_replace(bucket: Bucket, key: str) -> None:
    data, first = await bucket.get_with_etag(key)
    second = await bucket.put_if_match(key, b"third", first)
    if second == first or data != b"first":
        raise Refused("the bucket's ETag did not change with the bytes of the object")
    try:
        await bucket.put_if_match(key, b"fourth", first)
    except PreconditionFailed:
        pass
    else:
        raise Refused(
            "this store ignores If-Match on PUT: two controllers could both win the metadata. "
            "Use a store with conditional writes (AWS S3, SeaweedFS, MinIO, Cloudflare R2)"
        )
    if await bucket.get_with_etag(key) != (b"third", second):
        raise Refused("the bucket does not return what was written last: it is not strongly consistent")
    if bytes(await bucket.get(key, 1, 3)) != b"hi":
        raise Refused("the bucket does not honour ranged reads")


async def _check_listing(bucket: Bucket, key: str) -> None:
    if [found.key for found in await bucket.list(key)] != [key]:
        raise Refused("the bucket does not list a key that was just written: its listings are not consistent")


async def _check_gone(bucket: Bucket, key: str) -> None:
    try:
        await bucket.head(key)
    except NotFound:
        return
    raise Refused("the bucket still shows a key that was deleted")


__all__ = ["check_bucket"]
