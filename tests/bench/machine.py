"""The machine under the figures: what it is, how fast its disk is right now, how much of it others took."""

import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path


def _cpu_times() -> tuple[int, int]:
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(fields[:8]), fields[7]


@dataclass(slots=True)
class Steal:
    """Share of CPU time that the hypervisor gave to others since the start; figures taken above 4 % are doubtful."""

    _start: tuple[int, int] = field(default_factory=_cpu_times)

    def percent(self) -> float:
        """Steal in percent of all CPU time since the start (or the last `reset`)."""
        total, stolen = (now - before for now, before in zip(_cpu_times(), self._start, strict=True))
        return 100 * stolen / total if total else 0.0

    def reset(self) -> None:
        """Begin again."""
        self._start = _cpu_times()


def describe(directory: Path) -> list[str]:
    """Lines for the head of the report, the disk's own speed included."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    memory = next((int(line.split()[1]) >> 20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    load = os.getloadavg()[0]
    small, large = _direct_writes(directory)
    busy = "; NOT QUIET: figures are doubtful" if load > 0.7 else ""
    return [
        f"{os.cpu_count()} CPUs ({model}), {memory} GiB, Linux {platform.release()}, Python {platform.python_version()}",
        f"load average of the last minute at the start: {load:.2f}{busy}",
        f"disk, O_DIRECT|O_DSYNC: 4 KiB p50 {small:.0f} us; 1 MiB {large:.0f} MB/s",
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _direct_writes(directory: Path) -> tuple[float, float]:
    """(p50 of a 4 KiB write in us, MB/s of 1 MiB writes) into a preallocated file."""
    import mmap

    path = directory / "disk-probe"
    block = mmap.mmap(-1, 1 << 20)
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT | os.O_DSYNC, 0o600)
    try:
        start = time.monotonic()
        for position in range(0, 64 << 20, 1 << 20):
            os.pwrite(file, block, position)
        start = time.monotonic()
        for position in range(0, 64 << 20, 1 << 20):
            os.pwrite(file, block, position)
        large = 64 * 1.048576 / (time.monotonic() - start)
        taken = []
        view = memoryview(block)[:4096]
        for number in range(500):
            start = time.monotonic()
            os.pwrite(file, view, number * 4096)
            taken.append(time.monotonic() - start)
        view.release()
        return sorted(taken)[250] * 1e6, large
    finally:
        os.close(file)
        path.unlink()
