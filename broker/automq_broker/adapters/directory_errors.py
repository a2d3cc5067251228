"""Errors of a file system as errors of a bucket: one place, one remedy each."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from automq_broker.ports import BucketDenied, BucketUnavailable, NotFound

_ABSENT = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EEXIST}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Turn an OSError inside the block into NotFound, BucketDenied or BucketUnavailable that names `subject`.

    A full disk is BucketUnavailable: the write has not happened, the same call succeeds once there is room again, and
    until then back-pressure is the right answer. A failed fsync is the same: its file is thrown away and the next
    attempt writes another one, so no fsync is ever retried.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        if error.errno in _ABSENT:
            raise NotFound(f"{subject}: not found") from None
        if error.errno in _FULL:
            raise BucketUnavailable(f"{subject}: the disk is full ({reason})") from error
        if error.errno in _DENIED:
            raise BucketDenied(f"{subject}: {reason}") from error
        raise BucketUnavailable(f"{subject}: {reason}") from error


__all__ = ["translated"]
