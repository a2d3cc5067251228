"""A bucket of S3 or of a store that speaks its protocol and honours conditional writes.

Bulk goes through obstore (Rust, off the interpreter lock), control through boto3; both on bounded pools of threads, in
their blocking forms: obstore's asynchronous form was seen to abort the process at exit on the stock event loop. Reads,
writes and control calls have pools of their own, so that a flood of one never holds up another.

Requests: an object up to `single_put_bytes` costs one PUT, a larger one a part per `part_bytes` and two requests more.
The single-PUT limit lies above the part size so that a stream object of 64 MiB and a bit costs one request, not four.
Integrity: every body is signed with its SHA-256, so a store refuses bytes that changed on the way.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import obstore

from automq_broker.adapters.bucket_threads import BucketThreads
from automq_broker.adapters.bucket_uri import S3Location
from automq_broker.adapters.s3_clients import S3Clients, make_clients
from automq_broker.adapters.s3_errors import translated
from automq_broker.adapters.s3_multipart import MultipartTarget, split_parts, upload_multipart
from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import BucketDenied, Buffer, NotFound, ObjectStat, PreconditionFailed

PART_BYTES = 64 * 1024 * 1024
SINGLE_PUT_BYTES = 128 * 1024 * 1024
_LIST_PAGE = 1000
_READERS = 16
_WRITERS = 8
_PART_WRITERS = 8
_CONTROLLERS = 8

_Page = list[ObjectStat]


def open_s3_bucket(
    location: S3Location, *, part_bytes: int = PART_BYTES, single_put_bytes: int = SINGLE_PUT_BYTES
) -> "S3Bucket":
    """Open the bucket at `location`; asks the credential chain, not the bucket. Raises BucketDenied without any."""
    clients = make_clients(location, connections=_WRITERS + _PART_WRITERS + _CONTROLLERS)
    return S3Bucket(location, clients, part_bytes=part_bytes, single_put_bytes=single_put_bytes)


class S3Bucket:
    """Port Bucket over S3. `requests` counts what the store bills, by kind, with the parts of multipart uploads."""

    def __init__(self, location: S3Location, clients: S3Clients, *, part_bytes: int, single_put_bytes: int) -> None:
        self.location = location
        self.requests: Counter[str] = Counter()
        self._control = clients.control
        self._bulk = clients.bulk
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._part_bytes = part_bytes
        self._single_put_bytes = single_put_bytes
        self._encryption = _encryption_of(location)
        self._readers = BucketThreads("s3-get", _READERS)
        self._writers = BucketThreads("s3-put", _WRITERS)
        self._controllers = BucketThreads("s3-control", _CONTROLLERS)
        self._part_pool = ThreadPoolExecutor(max_workers=_PART_WRITERS, thread_name_prefix="s3-part")

    def __repr__(self) -> str:
        return f"S3Bucket('s3://{self.location.bucket}/{self.location.prefix}')"

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """See Bucket.get; a view of obstore's own bytes, no copy. A range behind the object raises Corrupt."""
        if start == end:
            return b""
        return await self._readers.read(partial(self._get, key, start, end))

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See Bucket.get_with_etag."""
        return await self._controllers.read(partial(self._get_with_etag, key))

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put. Cancelled, it still waits until no thread reads the buffers."""
        return await self._writers.write(partial(self._put, key, segments, if_absent))

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match; a missing object is a failed precondition too."""
        return await self._controllers.write(partial(self._put_if_match, key, data, etag))

    async def head(self, key: str) -> ObjectStat:
        """See Bucket.head. A missing bucket is told from a missing key by a second request."""
        return await self._controllers.read(partial(self._head, key))

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """See Bucket.list."""
        return await self._controllers.read(partial(self._list, prefix, start_after))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many."""
        await self._controllers.write(partial(self._delete, list(keys)))

    async def close(self) -> None:
        """Free threads and connections; calls that run are let to their end."""
        for threads in (self._readers, self._writers, self._controllers):
            threads.close()
        self._part_pool.shutdown(wait=False)
        self._control.close()

    # Everything below runs on threads.

    def _count(self, kind: str) -> None:
        self.requests[kind] += 1

    def _get(self, key: str, start: int, end: int | None) -> memoryview:
        name = self._prefix + key
        self._count("get")
        with translated(f"get {key}"):
            if end is not None:
                data = memoryview(obstore.get_range(self._bulk, name, start=start, end=end))
            elif start:
                data = memoryview(obstore.get(self._bulk, name, options={"range": {"offset": start}}).bytes())
            else:
                data = memoryview(obstore.get(self._bulk, name).bytes())
        if end is not None and len(data) != end - start:
            raise Corrupt(f"{key} ends at byte {start + len(data)}; {start}..{end} were asked for")
        return data

    def _get_with_etag(self, key: str) -> tuple[bytes, str]:
        self._count("get")
        with translated(f"get {key}"):
            answer = self._control.get_object(Bucket=self.location.bucket, Key=self._prefix + key)
            return answer["Body"].read(), answer["ETag"]

    def _put(self, key: str, segments: Sequence[Buffer], if_absent: bool) -> str:
        if sum(map(len, segments)) > self._single_put_bytes:
            target = MultipartTarget(
                client=self._control,
                pool=self._part_pool,
                bucket=self.location.bucket,
                key=self._prefix + key,
                encryption=self._encryption,
                count=self._count,
            )
            return upload_multipart(target, split_parts(segments, self._part_bytes), if_absent=if_absent)
        self._count("put")
        with translated(f"put {key}"):
            answer = obstore.put(
                self._bulk,
                self._prefix + key,
                iter(segments),
                mode="create" if if_absent else "overwrite",
                use_multipart=False,
            )
        return answer["e_tag"] or ""

    def _put_if_match(self, key: str, data: bytes, etag: str) -> str:
        self._count("put_if_match")
        try:
            with translated(f"put {key}"):
                answer = self._control.put_object(
                    Bucket=self.location.bucket,
                    Key=self._prefix + key,
                    Body=data,
                    IfMatch=etag,
                    **self._encryption,
                )
        except NotFound as error:  # AWS and moto say 404 where others say 412
            raise PreconditionFailed(str(error)) from None
        return answer["ETag"]

    def _head(self, key: str) -> ObjectStat:
        self._count("head")
        try:
            with translated(f"head {key}"):
                found = self._control.head_object(Bucket=self.location.bucket, Key=self._prefix + key)
        except NotFound:
            self._check_bucket()
            raise
        return ObjectStat(
            key=key,
            size=found["ContentLength"],
            etag=found["ETag"],
            modified_ms=int(found["LastModified"].timestamp() * 1000),
        )

    def _check_bucket(self) -> None:
        """The answer to a HEAD has no body, so it cannot say which of the two is missing."""
        self._count("head")
        try:
            with translated(f"bucket {self.location.bucket}"):
                self._control.head_bucket(Bucket=self.location.bucket)
        except NotFound:
            raise BucketDenied(f"bucket {self.location.bucket}: NoSuchBucket") from None

    def _list(self, prefix: str, start_after: str) -> _Page:
        self._count("list")
        # Without a start the parameter is left out: some stores take an empty one as a key.
        after: dict[str, Any] = {"StartAfter": self._prefix + start_after} if start_after else {}
        with translated(f"list {prefix}"):
            answer = self._control.list_objects_v2(
                Bucket=self.location.bucket, Prefix=self._prefix + prefix, MaxKeys=_LIST_PAGE, **after
            )
        return [
            ObjectStat(
                key=found["Key"].removeprefix(self._prefix),
                size=found["Size"],
                etag=found["ETag"],
                modified_ms=int(found["LastModified"].timestamp() * 1000),
            )
            for found in answer.get("Contents", [])
        ]

    def _delete(self, keys: Sequence[str]) -> None:
        if not keys:
            return
        self._count("delete")
        with translated("delete"):
            answer = self._control.delete_objects(
                Bucket=self.location.bucket,
                Delete={"Objects": [{"Key": self._prefix + key} for key in keys], "Quiet": True},
            )
        for refused in answer.get("Errors", []):
            raise BucketDenied(f"delete {refused.get('Key', '')}: {refused.get('Code', 'refused')}")


def _encryption_of(location: S3Location) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if location.sse is not None:
        options["ServerSideEncryption"] = location.sse
    if location.kms_key_id is not None:
        options["SSEKMSKeyId"] = location.kms_key_id
    return options


__all__ = ["PART_BYTES", "SINGLE_PUT_BYTES", "S3Bucket", "open_s3_bucket"]
