"""File-system steps below the directory bucket: durable writes, and keys in key order."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from automq_broker.kernel.errors import Bug
from automq_broker.ports import Buffer

LIST_PAGE = 1000
_VECTORS_MAX = 512
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)


def check_key(key: str) -> None:
    """Raise Bug for a key that would leave the bucket or touch its own files; our keys never do."""
    parts = key.split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts) or parts[0].startswith("."):
        raise Bug(f"not a key: {key!r}")


def write_all(descriptor: int, segments: Sequence[Buffer]) -> None:
    """Write the segments one behind the other, without joining them."""
    pending: list[memoryview] = [memoryview(segment) for segment in segments if len(segment)]
    pending.reverse()
    while pending:
        group = pending[: -_VECTORS_MAX - 1 : -1]
        written = os.writev(descriptor, group)
        while pending and written >= len(pending[-1]):
            written -= len(pending.pop())
        if written:
            pending[-1] = pending[-1][written:]


def remove_abandoned(directory: Path, older_than_s: float, now_s: float) -> None:
    """Delete the temporary files that a crashed process left: old ones that nobody holds a lock on."""
    with os.scandir(directory) as found:
        paths = [directory / entry.name for entry in found]
    for path in paths:
        try:
            if path.stat().st_mtime >= now_s - older_than_s:
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # its writer, in another process, was done with it meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            continue  # its writer is alive
        finally:
            os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """Make a file durable; on macOS a plain fsync stops at the drive's cache."""
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def walk(root: Path, prefix: str, start_after: str) -> Iterator[str]:
    """Keys below `prefix` that sort after `start_after`, in key order. Directories that cannot hold one are not read.

    A directory sorts as its name with a slash, because that is what its keys begin with.
    """
    yield from _walk(root, "", prefix, start_after)


def _walk(directory: Path, base: str, prefix: str, start_after: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as found:
            names = sorted(
                base + entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                for entry in found
                if base or not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if not name.endswith("/"):
            if name.startswith(prefix) and name > start_after:
                yield name
        elif _may_hold(name, prefix, start_after):
            yield from _walk(directory / name[len(base) : -1], name, prefix, start_after)


def _may_hold(folder: str, prefix: str, start_after: str) -> bool:
    inside = folder.startswith(prefix) or prefix.startswith(folder)
    return inside and (folder > start_after or start_after.startswith(folder))


__all__ = ["LIST_PAGE", "check_key", "remove_abandoned", "sync_directory", "sync_file", "walk", "write_all"]
