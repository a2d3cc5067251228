"""Seeds of three brokers keep every promise: machines, volumes, network, bucket and processes fail meanwhile."""

import pytest

from sim.command import run_many
from sim.report import failure_of

BROKERS = 3
CHUNK = 20
MINUTES = 0.5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 101, CHUNK))
def test_every_promise_is_kept_among_many(first: int) -> None:
    failures = [
        "\n".join(failure_of(outcome))
        for outcome in run_many(range(first, first + CHUNK), MINUTES, jobs=2, brokers=BROKERS)
        if outcome.violation is not None
    ]
    assert not failures, "\n\n".join(failures)
