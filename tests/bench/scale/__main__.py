"""`make bench-scale`: the metadata of clusters that nobody has on a laptop, with the real code; the tables of docs/scale.md.

make bench-scale                                                           # about 5 minutes, 4 GiB of memory
make bench-scale ARGS="--partitions 100000 --brokers 100 --ranges 60"      # one size
make bench-scale ARGS="--only money --put 0.0054 --disk 0.0952"            # with the prices of another region

A cluster of each size is made in memory, stored as a snapshot, and loaded by a fresh process, as a follower does; two real
brokers join the smallest. What commands cost is the CPU time of the real code; what commits cost is the real controller
on virtual time over a bucket with S3's latency. Nothing here is a timed test: compare figures of one machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.scale.brokers import joined
from bench.scale.cluster import Size
from bench.scale.copies import load, store
from bench.scale.costs import BATCH
from bench.scale.money import Load, Prices, money_table
from bench.scale.pace import S3_LATENCY_S, commits
from bench.scale.table import metadata_table

_SIZES = (Size(100, 100_000, 10), Size(100, 100_000, 100), Size(100, 1_000_000, 10), Size(1_000, 1_000_000, 10))
_LOADS = (
    Load(brokers=3, partitions=3_000, bytes_per_s=10e6),
    Load(brokers=100, partitions=1_000_000, bytes_per_s=50e6),
    Load(brokers=1_000, partitions=1_000_000, bytes_per_s=50e6),
)


def _measured(size: Size) -> dict[str, float]:
    """All figures of one size, each process fresh."""
    with tempfile.TemporaryDirectory(prefix="automq-scale-") as directory:
        file = str(Path(directory) / "snapshot")
        return _in_fresh_process("store", *size.words(), file) | _in_fresh_process("load", file)


def _in_fresh_process(*words: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "bench.scale", *words], check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _show_pace() -> None:
    pace, (low, high) = commits(), S3_LATENCY_S
    print(
        f"one head object, S3 of {low * 1000:.0f} to {high * 1000:.0f} ms: {pace['head_puts_per_s']:.1f} commits/s with "
        f"{pace['commands_per_s']:,.0f} commands/s where {BATCH:,} always wait; "
        f"{pace['idle_head_puts_per_s']:.2f} commits/s when idle\n"
    )


def _show_metadata(sizes: list[Size]) -> None:
    print("\n".join(metadata_table(sizes, [_measured(size) for size in sizes])), end="\n\n")


def _show_brokers(size: Size) -> None:
    found = _in_fresh_process("join", *size.words())
    print(
        f"a real broker that joins {size.partitions:,} partitions with {size.ranges} ranges each: serves after "
        f"{found['real_s']:.1f} s (empty cluster {found['real_empty_s']:.1f} s), RSS {found['real_mib']:.0f} MiB, "
        f"{found['real_above_mib']:.0f} MiB of it for the metadata\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("pace", "metadata", "brokers", "money"), help="one part of the report")
    parser.add_argument("--brokers", type=int, default=100)
    parser.add_argument("--partitions", type=int, help="one size instead of those of docs/scale.md")
    parser.add_argument("--ranges", type=int, default=10, help="committed ranges per partition")
    prices = Prices()
    parser.add_argument("--put", type=float, default=prices.put * 1000, help="dollars per 1000 PUTs")
    parser.add_argument("--get", type=float, default=prices.get * 1000, help="dollars per 1000 GETs")
    parser.add_argument("--stored", type=float, default=prices.stored_gb_month, help="dollars per GB and month")
    parser.add_argument("--disk", type=float, default=prices.disk_gib_month, help="dollars per GiB of gp3 and month")
    return parser.parse_args()


def main() -> int:
    """Command line; the words `store`, `load` and `join` are for its own child processes."""
    match sys.argv[1:]:
        case ["store", brokers, partitions, ranges, file]:
            print(json.dumps(store(Size(int(brokers), int(partitions), int(ranges)), Path(file))))
            return 0
        case ["load", file]:
            print(json.dumps(load(Path(file))))
            return 0
        case ["join", brokers, partitions, ranges]:
            print(json.dumps(joined(Size(int(brokers), int(partitions), int(ranges)))))
            return 0
    given = _arguments()
    sizes = [Size(given.brokers, given.partitions, given.ranges)] if given.partitions else list(_SIZES)
    prices = Prices(put=given.put / 1000, get=given.get / 1000, stored_gb_month=given.stored, disk_gib_month=given.disk)
    parts = {
        "pace": _show_pace,
        "metadata": lambda: _show_metadata(sizes),
        "brokers": lambda: _show_brokers(sizes[0]),
        "money": lambda: print("\n".join(money_table(list(_LOADS), prices))),
    }
    for name, show in parts.items():
        if given.only in (None, name):
            show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
