"""The speed of a disk: bytes and writes per second, as its storage class says. The kernel keeps them, per container.

Only what a container writes and reads directly is held back (O_DIRECT, as the broker's log does): writeback of the page cache
has no container in control groups of version 1.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from e2e.csi.disks import Volume

CONTAINERS = Path("/sys/fs/cgroup/blkio/kubepods")
LOOK_EVERY_SECONDS = 0.2
"""A container that has just started is this long without a limit."""
MIB = 1 << 20


class Throttle:
    """Limits of the devices that are open on this node, laid on every container that there is and will be."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._limits: dict[str, Volume] = {}
        Thread(target=self._hold_for_ever, daemon=True).start()

    def hold(self, device: str, volume: Volume) -> None:
        """From now on, until `let_go`; nothing for a volume without limits."""
        if volume.throughput_mib or volume.iops:
            with self._lock:
                self._limits[device] = volume

    def let_go(self, volume: str) -> None:
        """The volume is closed: its device may be another volume's next."""
        with self._lock:
            for device in [device for device, held in self._limits.items() if held.id == volume]:
                self._write(device, bytes_per_second=0, calls_per_second=0)
                del self._limits[device]

    def _hold_for_ever(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_SECONDS)
            with self._lock:
                for device, volume in self._limits.items():
                    self._write(device, bytes_per_second=volume.throughput_mib * MIB, calls_per_second=volume.iops)

    def _write(self, device: str, *, bytes_per_second: int, calls_per_second: int) -> None:
        """Zero lifts a limit. Writing the limit that is there already changes nothing."""
        number = os.stat(device).st_rdev
        name = f"{os.major(number)}:{os.minor(number)}"
        for group in CONTAINERS.glob("**/"):
            for limit, value in (("bps", bytes_per_second), ("iops", calls_per_second)):
                for way in ("read", "write"):
                    with suppress(OSError):  # the container ended while we looked
                        (group / f"blkio.throttle.{way}_{limit}_device").write_text(f"{name} {value}")
