"""Objects above the single-PUT size: parts side by side, and a completion that can be conditional.

boto3 carries this, because obstore completes a multipart upload unconditionally only, and a data object must never
replace another one.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from automq_broker.adapters.s3_errors import translated
from automq_broker.kernel.errors import AutomqError
from automq_broker.ports import Buffer, PreconditionFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PARTS_MAX = 10_000
"""S3's limit."""

_CHUNK_BYTES = 256 * 1024


class SegmentReader:
    """A file over segments that never joins them all: what boto3 hashes and sends as a request's body.

    `read` hands out more or fewer bytes than it is asked for, as views where segments are large and as small joins
    where they are small; boto3 reads until nothing comes. Not for general use as a file.
    """

    def __init__(self, segments: Sequence[Buffer]) -> None:
        self._segments = segments
        self._cuts = _chunk_ends(segments)  # once: a body is read twice, for its hash and for the socket
        self._size = sum(map(len, segments))
        self._chunk = 0
        self._position = 0

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> Buffer:
        """The next chunk; b"" at the end. With no size: everything from here on."""
        first = self._cuts[self._chunk]
        if size < 0:
            self._chunk, self._position = len(self._cuts) - 1, self._size
            return b"".join(self._segments[first:])
        if self._chunk == len(self._cuts) - 1:
            return b""
        self._chunk += 1
        end = self._cuts[self._chunk]
        chunk = self._segments[first] if end - first == 1 else b"".join(self._segments[first:end])
        self._position += len(chunk)
        return chunk

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to the start or the end, the only places that boto3 seeks to."""
        if (position, whence) == (0, 0):
            self._chunk, self._position = 0, 0
        elif (position, whence) in ((0, 2), (self._size, 0)):
            self._chunk, self._position = len(self._cuts) - 1, self._size
        else:
            raise ValueError(f"cannot seek to {position} from {whence}")
        return self._position

    def tell(self) -> int:
        """How many bytes lie before the next chunk."""
        return self._position


def _chunk_ends(segments: Sequence[Buffer]) -> list[int]:
    """Places between which segments are handed out together: one large segment, or small ones up to a chunk."""
    cuts = [0]
    size = 0
    for place, length in enumerate(map(len, segments)):
        if size and size + length > _CHUNK_BYTES:
            cuts.append(place)
            size = 0
        size += length
    if size:
        cuts.append(len(segments))
    return cuts


def split_parts(segments: Sequence[Buffer], part_bytes: int) -> list[list[Buffer]]:
    """Cut segments into parts of exactly `part_bytes` (the last may be shorter), as views without a copy.

    S3 asks for parts of at least 5 MiB and at most 10 000 of them; `part_bytes` is raised where that needs it.
    """
    total = sum(map(len, segments))
    part_bytes = max(part_bytes, -(-total // PARTS_MAX))
    parts: list[list[Buffer]] = [[]]
    room = part_bytes
    for segment in segments:
        rest = segment
        while len(rest) > room:  # only here is a view made: most of a million small segments fit as they are
            cut = memoryview(rest)
            parts[-1].append(cut[:room])
            rest = cut[room:]
            parts.append([])
            room = part_bytes
        if len(rest):
            parts[-1].append(rest)
            room -= len(rest)
    return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartTarget:
    """Where the parts go and with what. `pool` uploads them; `count` is told the kind of every request."""

    client: "S3Client"
    pool: ThreadPoolExecutor
    bucket: str
    key: str
    encryption: Mapping[str, Any]
    count: Callable[[str], None]


def upload_multipart(target: MultipartTarget, parts: Sequence[Sequence[Buffer]], *, if_absent: bool) -> str:
    """Store `parts` as one object and return its ETag; runs on a thread that is not one of the pool's.

    When it returns or raises, no thread reads the buffers any more. An upload that failed or lost is aborted; one whose
    completion has an unknown outcome is left alone, because aborting could not tell either.
    """
    with translated(f"upload {target.key}"):
        target.count("create_multipart")
        created = target.client.create_multipart_upload(Bucket=target.bucket, Key=target.key, **target.encryption)
    upload_id = created["UploadId"]
    try:
        done = _upload_parts(target, upload_id, parts)
    except AutomqError:
        _abort(target, upload_id)
        raise
    try:
        return _complete(target, upload_id, done, if_absent)
    except PreconditionFailed:
        _abort(target, upload_id)
        raise


def _upload_parts(
    target: MultipartTarget, upload_id: str, parts: Sequence[Sequence[Buffer]]
) -> "list[CompletedPartTypeDef]":
    def upload(number: int, segments: Sequence[Buffer]) -> "CompletedPartTypeDef":
        with translated(f"upload {target.key}, part {number}"):
            target.count("part")
            body: Any = SegmentReader(segments)
            answer = target.client.upload_part(
                Bucket=target.bucket, Key=target.key, UploadId=upload_id, PartNumber=number, Body=body
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    futures = [target.pool.submit(upload, number, segments) for number, segments in enumerate(parts, 1)]
    wait(futures, return_when=FIRST_EXCEPTION)
    for future in futures:
        future.cancel()  # takes back those that wait, once one has failed; does nothing to the others
    wait(futures)
    failed = [future for future in futures if not future.cancelled() and future.exception() is not None]
    return [future.result() for future in failed or futures]


def _complete(target: MultipartTarget, upload_id: str, done: "list[CompletedPartTypeDef]", if_absent: bool) -> str:
    condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
    with translated(f"upload {target.key}"):
        target.count("complete_multipart")
        answer = target.client.complete_multipart_upload(
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload_id,
            MultipartUpload={"Parts": done},
            **condition,
        )
    return answer["ETag"]


def _abort(target: MultipartTarget, upload_id: str) -> None:
    """Try to free the parts; what this cannot is left to the bucket's lifecycle rule for incomplete uploads."""
    with suppress(AutomqError), translated(f"abort {target.key}"):
        target.count("abort_multipart")
        target.client.abort_multipart_upload(Bucket=target.bucket, Key=target.key, UploadId=upload_id)


__all__ = ["PARTS_MAX", "MultipartTarget", "SegmentReader", "split_parts", "upload_multipart"]
