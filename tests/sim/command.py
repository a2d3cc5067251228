"""Seeds one after the other or side by side, of one broker or of many; every 20th is run twice: its traces must be one."""

import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial

from sim.cluster_options import expand_cluster
from sim.options import Options, expand
from sim.report import failure_of, line_of
from sim.run import Outcome
from sim.simulation import simulate

TWICE_EVERY = 20


def options_of(seed: int, minutes: float, brokers: int) -> Options:
    """What the seed expands to."""
    return expand(seed, minutes) if brokers == 1 else expand_cluster(seed, minutes, brokers)


def run_one(seed: int, minutes: float, brokers: int = 1) -> Outcome:
    """One seed; a seed that gives two traces fails."""
    outcome = simulate(options_of(seed, minutes, brokers))
    if seed % TWICE_EVERY == 0 and outcome.violation is None:
        again = simulate(options_of(seed, minutes, brokers))
        if again.digest != outcome.digest:
            outcome.violation = f"not deterministic: traces {outcome.digest} and {again.digest}"
    return outcome


def run_many(seeds: Iterable[int], minutes: float, jobs: int, brokers: int = 1) -> Iterator[Outcome]:
    """Outcomes in the order of the seeds, `jobs` processes at work."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        ahead: list[Future[Outcome]] = []
        try:
            for seed in seeds:
                ahead.append(pool.submit(run_one, seed, minutes, brokers))
                if len(ahead) > 2 * jobs:
                    yield ahead.pop(0).result()
            while ahead:
                yield ahead.pop(0).result()
        finally:
            for future in ahead:
                future.cancel()


def run(
    seeds: Iterable[int], *, minutes: float, wall_minutes: float | None, jobs: int, is_verbose: bool, brokers: int
) -> bool:
    """Print a line per seed and everything about the failures; True if there were none."""
    deadline = time.monotonic() + 60 * wall_minutes if wall_minutes is not None else float("inf")
    failed: list[int] = []
    total, sums = 0, Counter[str]()
    for outcome in _outcomes(seeds, minutes, jobs, is_verbose, brokers):
        print(line_of(outcome), flush=True)
        total += 1
        sums.update(outcome.counts)
        if outcome.violation is not None:
            failed.append(outcome.options.seed)
            print("\n".join(failure_of(outcome)), flush=True)
        if time.monotonic() >= deadline:
            break
    shown = ", ".join(map(str, failed[:20]))
    print(", ".join(f"{count} {name}" for name, count in sums.items()))
    print(f"{total} seeds, {sums['faults']} faults, {len(failed)} failed{': ' if failed else ''}{shown}")
    return not failed


def _outcomes(seeds: Iterable[int], minutes: float, jobs: int, is_verbose: bool, brokers: int) -> Iterator[Outcome]:
    if is_verbose:
        return (simulate(options_of(seed, minutes, brokers), show=print) for seed in seeds)
    if jobs > 1:
        return run_many(seeds, minutes, jobs, brokers)
    return (run_one(seed, minutes, brokers) for seed in seeds)


def first_failure(seeds: range, minutes: float, brokers: int) -> Outcome | None:
    """Of the lowest seed that fails; two are tried at a time, and what is under way when it is found ends there."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for outcome in pool.imap(partial(run_one, minutes=minutes, brokers=brokers), seeds):
            if outcome.violation is not None:
                return outcome
    return None


if __name__ == "__main__":  # tests run it on edited copies of the broker
    first, count, minutes_each, brokers_each = sys.argv[1:5]
    some = range(int(first), int(first) + int(count))
    if found := first_failure(some, float(minutes_each), int(brokers_each)):
        print(f"seed {found.options.seed}: {found.violation}")
        sys.exit(1)

__all__ = ["first_failure", "options_of", "run", "run_many", "run_one"]
