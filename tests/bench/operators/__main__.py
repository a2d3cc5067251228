"""`make bench-operator`: `automq-operator run`, as it is, on clusters that are as they are to be, against an API server over HTTP.

make bench-operator                                    # 50 clusters of 6 brokers, 3 minutes; about 5 in all
make bench-operator ARGS="--clusters 10 --minutes 1"

Prints memory, CPU, what it asks of the API server and of brokers, and how long a restarted operator takes until it has
planned for every cluster. The API server is a twin in a process of its own, whose time is not counted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from bench.operators.api import Served, serve
from bench.operators.clusters import joined, settled
from bench.operators.measured import Operator, start

_WARM_S = 75.0
"""Until what is asked once a minute was asked once; the start counts by itself."""


def _serve(clusters: int, brokers: int) -> None:
    api = Served(now=time.time())
    api.start()
    worlds = [settled(number, brokers) for number in range(clusters)]
    found = joined(worlds, api)
    print(serve(api, found), flush=True)
    sys.stdin.read()


def _kubeconfig(port: int, path: Path) -> Path:
    cluster = {"name": "twin", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    user = {"name": "operator", "user": {"token": "operator"}}
    context = {"name": "twin", "context": {"cluster": "twin", "user": "operator", "namespace": "default"}}
    path.write_text(
        yaml.safe_dump({"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "twin"})
    )
    return path


def _counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=10) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def _rest(operator: Operator, port: int, minutes: float) -> None:
    """Print what it costs while nothing happens."""
    time.sleep(_WARM_S)
    before, cpu, began = _counts(port), operator.cpu_s(), time.monotonic()
    highest = 0.0
    while time.monotonic() - began < minutes * 60:
        time.sleep(1.0)
        highest = max(highest, operator.rss_mib())
    took = time.monotonic() - began
    share = (operator.cpu_s() - cpu) / took
    print(f"memory (RSS)                      {highest:8.0f} MiB")
    print(f"CPU                               {share:8.2%} of a core")
    after = _counts(port)
    by_cost: dict[str, float] = {}
    for key in sorted(after):
        per_minute = (after[key] - before.get(key, 0)) * 60 / took
        cost = key.partition(" ")[0]
        by_cost[cost] = by_cost.get(cost, 0.0) + per_minute
    for cost, what in _COSTS.items():
        print(f"{what:33} {by_cost.get(cost, 0.0):8.1f} a minute")
    told = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    print(f"all that was asked in {took:.0f} s: {json.dumps(told, sort_keys=True)}")


_COSTS = {
    "write": "writes, but for the Lease",
    "lease": "renewals of the Lease",
    "read": "objects read",
    "list": "lists",
    "watch": "watches begun",
    "review": "reviews of rights",
    "discovery": "questions for kinds",
    "broker": "questions to brokers",
}


def main() -> int:
    """Exit code 1 if the operator does not end in order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--brokers", type=int, default=6, help="of each cluster")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        _serve(given.clusters, given.brokers)
        return 0
    words = ["--serve", "--clusters", str(given.clusters), "--brokers", str(given.brokers)]
    with (
        tempfile.TemporaryDirectory(prefix="automq-operators-") as directory,
        subprocess.Popen(
            [sys.executable, "-m", "bench.operators", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as twin,
    ):
        assert twin.stdout is not None
        port = int(twin.stdout.readline())
        print(f"{given.clusters} clusters of {given.brokers} brokers, {given.minutes:g} minutes")
        code = _measure(port, Path(directory), given.clusters, given.minutes)
        twin.terminate()
    return code


def _measure(port: int, directory: Path, clusters: int, minutes: float) -> int:
    kubeconfig, log = _kubeconfig(port, directory / "kubeconfig"), directory / "operator.log"
    first = start(kubeconfig, log)
    print(f"first start: planned for all after{first.planned_after(clusters):8.1f} s", flush=True)
    _rest(first, port, minutes)
    codes = [first.stop()]
    again = start(kubeconfig, log)
    print(f"restarted: planned for all after  {again.planned_after(clusters):8.1f} s", flush=True)
    codes.append(again.stop())
    if any(codes):
        print(log.read_text()[-4000:])
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
