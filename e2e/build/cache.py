"""A folder of the cache is there as a whole or not at all, and is made once even if two runs want it."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.progress import step


@contextmanager
def building(target: Path, what: str) -> Iterator[Path | None]:
    """A new folder to fill, which becomes `target` at the end of the block; None when `target` is there already.

    Whoever comes second waits until the first has finished. A block that raises leaves nothing behind.
    """
    if target.exists():
        yield None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        unfinished.mkdir()
        try:
            with step(f"building {what}"):
                yield unfinished
            unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def digest(root: Path, paths: Iterable[Path], *more: str) -> str:
    """Sixteen hex digits that change with any byte or name of the files (relative to `root`), and with `more`."""
    content = hashlib.sha256("\0".join(more).encode())
    for path in sorted(paths):
        data = path.read_bytes()
        content.update(f"{path.relative_to(root)}\0{len(data)}\0".encode() + data)
    return content.hexdigest()[:16]
