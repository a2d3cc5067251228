"""Two hundred seeds keep every promise."""

import pytest

from sim.command import run_many
from sim.report import failure_of

CHUNK = 20
MINUTES = 0.5


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 201, CHUNK))
def test_every_promise_is_kept_whatever_fails(first: int) -> None:
    failures = [
        "\n".join(failure_of(outcome))
        for outcome in run_many(range(first, first + CHUNK), MINUTES, jobs=2)
        if outcome.violation is not None
    ]
    assert not failures, "\n\n".join(failures)
