"""`automq sim`: the deterministic simulator, which lives in the source tree beside the tests."""

import importlib
import sys
from pathlib import Path

import click

from automq_broker.kernel.errors import Refused

_TESTS = Path(__file__).resolve().parents[3] / "tests"


@click.command(
    epilog="""\b
Examples:
  automq sim --seeds 100                 seeds 1 to 100
  automq sim --seed 42 --verbose         one seed with its whole trace
  automq sim --seeds 100000 --for 30     as many as half an hour allows
  automq sim --brokers 3 --seeds 100     three brokers, their network, machines, and the operator
"""
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many seeds.")
@click.option(
    "--brokers", type=click.IntRange(1, 9), default=1, show_default=True, help="More than one also move and fail over."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The first one.")
@click.option(
    "--minutes", type=click.FloatRange(0.1, 600), default=1.0, show_default=True, help="Virtual, with faults."
)
@click.option("--for", "wall_minutes", type=click.FloatRange(0.1), help="Stop after so many minutes on the clock.")
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes side by side.")
@click.option("--verbose", is_flag=True, help="Print every event.")
def command(
    seeds: int, brokers: int, seed: int, minutes: float, wall_minutes: float | None, jobs: int, verbose: bool
) -> None:
    """Run the real engine on virtual time over a failing disk and bucket, and check that every promise is kept.

    With several brokers their network and machines fail as well, and the real operator moves the logs of the dead.

    The same seed gives the same run. A seed that fails prints what it expanded to and how to see it again.
    """
    if not (_TESTS / "sim" / "command.py").exists():
        raise Refused("automq sim belongs to the source tree: run it from a checkout, after `make setup`")
    sys.path.insert(0, str(_TESTS))
    run = importlib.import_module("sim.command").run
    chosen = range(seed, seed + seeds)
    if not run(chosen, minutes=minutes, wall_minutes=wall_minutes, jobs=jobs, is_verbose=verbose, brokers=brokers):
        raise click.exceptions.Exit(1)
