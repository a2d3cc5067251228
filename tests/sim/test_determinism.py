"""The same seed is the same run, in any interpreter, and other seeds are other runs."""

import os
import subprocess
import sys
from pathlib import Path

from sim.options import expand
from sim.simulation import simulate

TESTS = Path(__file__).resolve().parents[1]
PROGRAM = """
from sim.cluster_options import expand_cluster
from sim.options import expand
from sim.simulation import simulate
print(*(simulate(expand(seed, 0.3)).digest for seed in (7, 8, 9)))
print(*(simulate(expand_cluster(seed, 0.3, 3)).digest for seed in (7, 8, 9)))
"""


def digests(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    return found.stdout.split()


def test_a_seed_gives_one_trace_whatever_order_hashing_gives_to_sets() -> None:
    first = digests("1")
    assert len(set(first)) == 6
    assert digests("2") == first


def test_options_of_a_seed_are_its_own() -> None:
    assert list(expand(3).lines()) == list(expand(3).lines())
    assert list(expand(3).lines()) != list(expand(4).lines())


def test_a_run_that_hardly_works_fails() -> None:
    outcome = simulate(expand(3, minutes=0.001))
    assert outcome.violation is not None
    assert "too little work" in outcome.violation
