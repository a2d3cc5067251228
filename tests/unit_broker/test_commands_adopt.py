"""`automq adopt` before it has anything to drain: what it refuses, with one line and a code of its own."""

import logging
from pathlib import Path

import pytest
from automq_broker.adapters.wal_open import open_wal_device
from automq_broker.cli import REFUSED, USAGE, run
from automq_broker.contract.adopt import EXIT_CODES, AdoptOutcome, AdoptReport


@pytest.fixture(autouse=True)
def _logging_as_before():
    """The command sets logging up for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    """A command line on an empty bucket, and a file that was never a WAL."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of the tests, long enough")
    (tmp_path / "wal.bin").write_bytes(bytes(2 << 20))
    (tmp_path / "bucket").mkdir()
    return {
        "--wal": str(tmp_path / "wal.bin"),
        "--node": "3",
        "--broker-epoch": "7",
        "--bucket": str(tmp_path / "bucket"),
        "--secret-file": str(secret),
    }


def adopt(options: dict[str, str]) -> int:
    return run(["adopt", *(word for pair in options.items() for word in pair)])


def refused(options: dict[str, str], outcome: AdoptOutcome, capsys: pytest.CaptureFixture[str]) -> str:
    """Run it; the one line that it says, after the report was checked."""
    assert adopt(options) == EXIT_CODES[outcome]
    said = capsys.readouterr()
    report = AdoptReport.model_validate_json(said.out)
    assert (report.outcome, report.node_id, report.broker_epoch) == (outcome, 3, 7)
    (line,) = [line for line in said.err.splitlines() if line.startswith("automq: ")]
    assert report.reason in line
    return line


def test_every_outcome_has_an_exit_code_of_its_own_and_none_is_that_of_wrong_usage() -> None:
    assert sorted(EXIT_CODES) == sorted(AdoptOutcome)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)
    assert USAGE not in EXIT_CODES.values()


def test_without_the_secret_it_is_wrong_usage(options, capsys) -> None:
    del options["--secret-file"]
    assert adopt(options) == USAGE
    assert "--secret-file" in capsys.readouterr().err


def test_a_bucket_without_a_cluster_is_refused_and_stays_empty(options, capsys, tmp_path) -> None:
    assert "holds no cluster" in refused(options, AdoptOutcome.FAILED, capsys)
    assert [path for path in (tmp_path / "bucket").rglob("*") if path.is_file() and "head" in path.name] == []


def test_a_missing_log_is_refused_and_not_made(options, capsys, tmp_path) -> None:
    options["--wal"] = str(tmp_path / "other" / "wal.bin")
    assert "No such file" in refused(options, AdoptOutcome.FAILED, capsys)
    assert not (tmp_path / "other").exists()


def test_an_empty_file_is_foreign_and_stays_empty(options, capsys, tmp_path) -> None:
    (tmp_path / "wal.bin").write_bytes(b"")
    assert "empty file" in refused(options, AdoptOutcome.FOREIGN, capsys)
    assert (tmp_path / "wal.bin").stat().st_size == 0


def test_a_log_that_is_in_use_is_not_proven_dead(options, capsys, tmp_path) -> None:
    device = open_wal_device(options["--wal"])
    try:
        assert "another process uses it" in refused(options, AdoptOutcome.NOT_PROVEN_DEAD, capsys)
    finally:
        device.release()


def test_a_report_that_cannot_be_written_is_refused_before_any_work(options, capsys, tmp_path) -> None:
    options["--report"] = str(tmp_path / "nowhere" / "report.json")
    assert adopt(options) == REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert "--report" in said.err


def test_a_refusal_is_in_the_report_file_too(options, capsys, tmp_path) -> None:
    options["--report"] = str(tmp_path / "report.json")
    refused(options, AdoptOutcome.FAILED, capsys)
    assert AdoptReport.model_validate_json((tmp_path / "report.json").read_text()).outcome is AdoptOutcome.FAILED
