"""Loop devices: what the kernel itself says about who has a volume open, whichever node opened it.

A loop belongs to the kernel, not to a namespace. That makes it the one witness that no node can deceive.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Source: linux/loop.h
_SET_STATUS: Final = struct.Struct("=QQQQQIIII64s64s32s2Q")  # struct loop_info64
_CONFIG: Final = struct.Struct("=II")  # struct loop_config: fd, block size; loop_info64 and 64 reserved bytes follow
_LOOP_CLR_FD: Final = 0x4C01
_LOOP_GET_STATUS64: Final = 0x4C05
_LOOP_CONFIGURE: Final = 0x4C0A
_LOOP_CTL_GET_FREE: Final = 0x4C82
_LO_FLAGS_AUTOCLEAR: Final = 4
BLOCK_SIZE: Final = 4096
LABEL: Final = "automq-e2e"
"""On every device that is made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A loop device in use: its path, and which file (device and inode, or device number) lies beneath.

    `label` is what its maker called it.
    """

    path: str
    label: str
    file: tuple[int, int]
    device: int

    def lies_on(self, path: str | Path) -> bool:
        """Whether that file or block device is what it reads and writes."""
        stat = os.stat(path)
        return self.file == (stat.st_dev, stat.st_ino) or (stat.st_rdev != 0 and self.device == stat.st_rdev)


def loops_on(path: str | Path) -> list[Loop]:
    """The loop devices that have this file or device open right now; none when the file does not exist."""
    try:
        return [loop for loop in all_loops() if loop.lies_on(path)]
    except FileNotFoundError:
        return []


def all_loops() -> Iterator[Loop]:
    """Every loop device of the machine that is in use, whoever made it."""
    for used in Path("/sys/block").glob("loop*/loop"):
        path = f"/dev/{used.parent.name}"
        with suppress(OSError):  # freed while we looked
            descriptor = os.open(path, os.O_RDONLY)
            try:
                status = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_SET_STATUS.size))
            finally:
                os.close(descriptor)
            device, inode, block_device, *_, name, _, _, _, _ = _SET_STATUS.unpack(status)
            label = name.rstrip(b"\0").decode(errors="replace")
            yield Loop(path=path, label=label, file=(device, inode), device=block_device)


@contextmanager
def attached(image: Path) -> Iterator[tuple[int, str]]:
    """A new loop device on the image: an open descriptor, closed at the end of the block, and the device's path.

    The kernel frees the device when its last user is gone, be it by unmount, by close or by the death of the node.
    """
    file = os.open(image, os.O_RDWR)
    try:
        descriptor, path = _configure(file)
    finally:
        os.close(file)
    try:
        yield descriptor, path
    finally:
        os.close(descriptor)


def detach(path: str) -> None:
    """Free a device that nobody frees by itself; nothing happens if it is free."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(descriptor)


def _configure(file: int) -> tuple[int, str]:
    info = _SET_STATUS.pack(0, 0, 0, 0, 0, 0, 0, 0, _LO_FLAGS_AUTOCLEAR, LABEL.encode(), b"", b"", 0, 0)
    while True:
        control = os.open("/dev/loop-control", os.O_RDWR)
        try:
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
        finally:
            os.close(control)
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, _LOOP_CONFIGURE, _CONFIG.pack(file, BLOCK_SIZE) + info + bytes(64))
        except OSError as error:
            os.close(descriptor)
            if error.errno != errno.EBUSY:  # somebody else took it in between
                raise
        else:
            return descriptor, path
