"""A cluster that is hurt for three minutes while clients use it; `make chaos MINUTES=n` does the same for longer."""

import os
import secrets
from pathlib import Path

import pytest
from chaos.run import run, show

_SECONDS = 90.0
_SEEDS = {False: 2, True: 3}


@pytest.mark.parametrize("has_s3", [False, True], ids=["directory", "s3"])
def test_clients_of_a_hurt_cluster_see_one_log_and_it_is_whole_after_each_fault(tmp_path: Path, has_s3: bool) -> None:
    explores = bool(os.environ.get("AUTOMQ_TEST_EXPLORE"))
    seed = secrets.randbelow(1 << 32) if explores else _SEEDS[has_s3]
    outcome = run(tmp_path, seed=seed, seconds=_SECONDS, has_s3=has_s3, rate=600)
    show(outcome, tmp_path)
    assert outcome.problems == []
    assert outcome.anomalies == []
    assert outcome.wounds
