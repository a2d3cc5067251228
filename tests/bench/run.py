"""`make bench`: play the rows, print the table with ratios from this very run, keep the figures as JSON.

make bench                                   # one broker beside Kafka, about 20 minutes
make bench-cluster                           # several brokers: moves, ends, takeover; without a peer
make bench ARGS="--rows produce_1kb,ack_latency --rounds 5"
make bench ARGS="--subject kafka --scale 0.2" # check the benchmark itself: Kafka against Kafka
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from twins.kafka_peer import missing_tools

from bench import (
    machine,
    programs,
    rows_cluster,
    rows_growth,
    rows_memory,
    rows_requests,
    rows_s3,
    rows_start,
    rows_throughput,
    rows_wal,
)
from bench.lanes import Bench
from bench.outcome import Measure, NotMeasured, Row, not_measured, render

_RESULTS = Path(__file__).resolve().parents[2] / ".cache" / "bench" / "results"

ROWS: dict[str, Measure] = {
    "produce_1kb": rows_throughput.produce_1kb,
    "produce_100b": rows_throughput.produce_100b,
    "small_requests": rows_throughput.small_requests,
    "ack_latency": rows_throughput.ack_latency,
    "fetch_from_cache": rows_throughput.fetch_from_cache,
    "cold_read": rows_s3.cold_read,
    "catch_up": rows_s3.produce_during_catch_up,
    "memory": rows_memory.memory,
    "start": rows_start.starts,
    "restart": rows_start.restart_after_kill,
    "s3_requests": rows_requests.requests_per_gigabyte,
    "wal_kinds": rows_wal.wal_kinds,
}

CLUSTER_ROWS: dict[str, Measure] = {
    "move": rows_cluster.move,
    "drain": rows_cluster.drain,
    "orderly_stop": rows_cluster.orderly_stop,
    "sudden_end": rows_cluster.sudden_end,
    "restart_in_place": rows_cluster.restart_in_place,
    "controller_end": rows_cluster.controller_end,
    "broker_added": rows_growth.broker_added,
    "metadata": rows_growth.metadata,
    "scaling": rows_cluster.scaling,
}
"""Rows of several brokers: no peer has anything like them, so none is started."""


def play(bench: Bench, names: list[str]) -> list[Row]:
    """Play the named rows; one that cannot be measured, or breaks, becomes a row that says so."""
    rows: list[Row] = []
    for name in names:
        steal, start = machine.Steal(), time.monotonic()
        try:
            found = (ROWS | CLUSTER_ROWS)[name](bench)
        except NotMeasured as reason:
            found = [not_measured(name, str(reason))]
        except Exception as problem:  # noqa: BLE001 (the other rows are still wanted; this one shows why it has no figure)
            traceback.print_exc()
            # The whole of it: a load program says why it ended below the command line that it was started with.
            words = "; ".join(line for line in str(problem).splitlines() if line.strip())
            found = [not_measured(name, f"{type(problem).__name__}: {words}")]
        if steal.percent() > 4 and found:
            found[0].notes.append(f"doubtful: others took {steal.percent():.1f} % of the CPU time meanwhile")
        print(f"# {name}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        rows += found
    return rows


def main() -> int:
    """Command line; exit code 1 if a row missed what it must reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", action="store_true", help="the rows of several brokers")
    parser.add_argument("--rows", help=f"comma-separated; of {', '.join(ROWS)}, or of {', '.join(CLUSTER_ROWS)}")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds per row and lane (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of each run; 0.1 for a first look")
    parser.add_argument("--subject", choices=("automq", "kafka"), default="automq", help="who stands in the first lane")
    parser.add_argument("--directory", type=Path, help="where the data goes; the disk that is measured")
    arguments = parser.parse_args()
    rows_wanted = arguments.rows or ",".join(CLUSTER_ROWS if arguments.cluster else ROWS)
    names = [name.strip() for name in rows_wanted.split(",") if name.strip()]
    if unknown := [name for name in names if name not in ROWS | CLUSTER_ROWS]:
        parser.error(f"no such rows: {', '.join(unknown)}")
    if set(names) & ROWS.keys() and (install := missing_tools()) is not None:
        parser.error(f"the peer is Apache Kafka from its jars; bring Java and Maven with: {install}")
    programs.build()
    # Not /tmp: that may be memory, and the disk is half of what is measured.
    place = arguments.directory or _RESULTS.parent / "data"
    place.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(dir=place, prefix="run-"))
    bench = Bench(directory=directory, subject=arguments.subject, rounds=arguments.rounds, scale=arguments.scale)
    steal = machine.Steal()
    try:
        about = machine.describe(directory)
        rows = play(bench, names)
    finally:
        bench.close()
        shutil.rmtree(directory, ignore_errors=True)
    about.append(f"others took {steal.percent():.1f} % of the CPU time (steal)")
    print("\n".join(["", *about, "", render(rows)]))
    _RESULTS.mkdir(parents=True, exist_ok=True)
    file = _RESULTS / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    file.write_text(json.dumps({"about": about, "rows": [asdict(row) for row in rows]}, indent=1))
    print(f"\nfigures: {file}")
    return 1 if any(row.verdict() == "missed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
