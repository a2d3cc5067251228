"""kafka-python's own integration tests against the broker under test (the list and its reasons: *_suite.toml)."""

from pathlib import Path

import pytest
from clients.kafka_python_suite import run_suite


@pytest.mark.slow
def test_kafka_pythons_own_tests_pass_as_they_do_against_kafka(bootstrap: str, tmp_path: Path) -> None:
    outcomes = run_suite(bootstrap, tmp_path / "report.xml")
    troubled = [outcome for outcome in outcomes if outcome.status != "passed"]
    listed = "\n".join(f"{outcome.status}: {outcome.name}\n{outcome.detail}" for outcome in troubled)
    assert not troubled, f"{len(troubled)} of {len(outcomes)}:\n{listed}"
    assert len(outcomes) >= 45, "fewer tests ran than the list promises"
