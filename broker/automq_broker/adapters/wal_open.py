"""From what the user wrote in `s3.wal.path` to an open device."""

import fcntl
import os
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from automq_broker.adapters.wal_block import open_block_wal
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_file import open_file_wal
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.kernel.errors import Refused

_ID_PREFIX = re.compile(r"^-?\d+@")
_PARAMETERS = {"capacity": "bytes", "iops": "writes/s", "iobandwidth": "bytes/s", "iodepth": "ignored"}
"""AutoMQ's query parameters. `iodepth` is accepted and means nothing here: one thread writes, in order."""


def open_wal_device(
    uri: str,
    *,
    capacity_bytes: int | None = None,
    handle: str | None = None,
    iops: float = 0,
    bytes_per_s: float = 0,
    is_read_only: bool = False,
) -> DirectWal:
    """Open `PATH`, `file:///path`, `block:///dev/x`, also as AutoMQ writes them: `0@file:///path?capacity=2147483648`.

    What the URI says wins over the arguments. Locks the device; a new file is created, preallocated, and its first
    64 MiB zeroed, which may block up to a second. Raises Refused with one clear line.
    """
    kind, path, parameters = parse_wal_uri(uri)
    pacing = Pacing(iops=parameters.get("iops", iops), bytes_per_s=parameters.get("iobandwidth", bytes_per_s))
    if kind == "block":
        return open_block_wal(path, handle=handle, pacing=pacing, is_read_only=is_read_only)
    return open_file_wal(
        path,
        capacity_bytes=parameters.get("capacity", capacity_bytes),
        handle=handle,
        pacing=pacing,
        is_read_only=is_read_only,
    )


def is_in_use(uri: str) -> bool:
    """Whether another process holds the device's exclusive lock right now. Raises Refused if it cannot be opened."""
    _, path, _ = parse_wal_uri(uri)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"WAL {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def parse_wal_uri(uri: str) -> tuple[str, str, dict[str, int]]:
    """("file" or "block", path, parameters) of a WAL URI; raises Refused naming what is wrong and what is allowed."""
    text = _ID_PREFIX.sub("", uri)
    if "://" not in text:
        if not text:
            raise Refused("the WAL's path is empty")
        return "file", text, {}
    parts = urlsplit(text)
    if parts.scheme not in ("file", "block"):
        raise Refused(f"WAL {uri}: unknown kind {parts.scheme!r}; allowed are a path, file:// and block://")
    path = unquote(parts.netloc + parts.path)
    if not path:
        raise Refused(f"WAL {uri}: no path")
    return parts.scheme, path, {name: _number(uri, name, value) for name, value in parse_qsl(parts.query, True)}


def _number(uri: str, name: str, value: str) -> int:
    if name not in _PARAMETERS:
        raise Refused(f"WAL {uri}: unknown parameter {name!r}; allowed are {', '.join(_PARAMETERS)}")
    if not value.isascii() or not value.isdigit():
        raise Refused(f"WAL {uri}: {name} is {value!r}; it must be a whole number ({_PARAMETERS[name]})")
    return int(value)


__all__ = ["is_in_use", "open_wal_device", "parse_wal_uri"]
