"""Run the test suites of tests/budget.toml one after the other and hold their minutes against the budget.

Each suite is a pytest of its own, so that one suite's servers, ports and memory end with it. A suite over its budget
is reported always and fails the run with CI=true. A test file that no suite runs fails the run everywhere.

    python tools/run_tests.py [--quick] [SUITE ...] [-- PYTEST ARGUMENTS]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET = ROOT / "tests" / "budget.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A part of the tests with its budget in minutes; `without` are paths that belong to other suites."""

    name: str
    paths: tuple[str, ...]
    without: tuple[str, ...]
    minutes: float
    is_quick: bool

    def files(self) -> list[Path]:
        """The test files of the suite, in order."""
        found = [file for path in self.paths for file in _test_files(ROOT / path)]
        left_out = [ROOT / path for path in self.without]
        return sorted(file for file in found if not any(file == out or out in file.parents for out in left_out))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a suite went: minutes on the clock, counts from pytest's report."""

    suite: Suite
    minutes: float
    passed: int
    skipped: int
    failed: int
    exit_code: int

    @property
    def is_over(self) -> bool:
        """Whether it took longer than its budget."""
        return self.minutes > self.suite.minutes


def load_suites() -> tuple[list[Suite], float]:
    """The suites in their order and the budget of all of them together."""
    table = tomllib.loads(BUDGET.read_text())
    suites = [
        Suite(
            name=name,
            paths=tuple(entry["paths"]),
            without=tuple(entry.get("without", ())),
            minutes=float(entry["minutes"]),
            is_quick=bool(entry.get("quick", False)),
        )
        for name, entry in table["suite"].items()
    ]
    return suites, float(table["minutes_in_all"])


def orphans(suites: list[Suite]) -> list[Path]:
    """Test files below tests/ that no suite runs."""
    run = {file for suite in suites for file in suite.files()}
    return sorted(set(_test_files(ROOT / "tests")) - run)


def run_suite(suite: Suite, *, is_quick: bool, extra: list[str]) -> Result:
    """Run one suite's pytest with its output on the terminal."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *suite.paths]
        command += [f"--ignore={path}" for path in suite.without]
        command += ["-m", "not slow and not clients"] if is_quick else []
        start = time.monotonic()
        finished = subprocess.run([*command, *extra], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
        minutes = (time.monotonic() - start) / 60
        totals = _totals(report)
    # Exit code 5: every test was left out by a marker, which is nothing to complain about in a quick run.
    code = 0 if finished.returncode == 5 and is_quick else finished.returncode
    return Result(suite=suite, minutes=minutes, exit_code=code, **totals)


def _totals(report: Path) -> dict[str, int]:
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    if report.exists():
        for element in ElementTree.parse(report).iter("testsuite"):
            for key in counts:
                counts[key] += int(element.get(key, "0"))
    failed = counts["failures"] + counts["errors"]
    skipped = counts["skipped"]
    return {"passed": counts["tests"] - failed - skipped, "skipped": skipped, "failed": failed}


def _test_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def print_table(results: list[Result]) -> None:
    """Minutes per suite against the budget."""
    print(f"\n{'suite':<16}{'minutes':>8}{'budget':>8}{'passed':>8}{'skipped':>8}{'failed':>8}")
    for result in results:
        row = f"{result.suite.name:<16}{result.minutes:>8.1f}{result.suite.minutes:>8.1f}"
        row += f"{result.passed:>8}{result.skipped:>8}{result.failed:>8}"
        print(row + ("  over its budget" if result.is_over else "") + ("  FAILED" if result.exit_code else ""))
    minutes = sum(result.minutes for result in results)
    print(f"{'all':<16}{minutes:>8.1f}{sum(result.suite.minutes for result in results):>8.1f}", flush=True)


def main() -> int:
    """Command line; exit code 1 if a suite failed, a test file is run by none, or (with CI=true) a budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only quick suites, without tests marked slow or clients")
    parser.add_argument("suites", nargs="*", help="names from tests/budget.toml; all by default")
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    arguments, extra = parser.parse_args(words[:split]), words[split + 1 :]
    suites, minutes_in_all = load_suites()
    if lost := orphans(suites):
        print("no suite runs:", *(str(file.relative_to(ROOT)) for file in lost), file=sys.stderr)
        return 1
    if unknown := set(arguments.suites) - {suite.name for suite in suites}:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    wanted = [suite for suite in suites if not arguments.suites or suite.name in arguments.suites]
    wanted = [suite for suite in wanted if suite.files() and (suite.is_quick or not arguments.quick)]
    results = []
    for suite in wanted:
        print(f"\n=== {suite.name} (budget {suite.minutes:g} min)", flush=True)
        results.append(run_suite(suite, is_quick=arguments.quick, extra=extra))
    print_table(results)
    is_over = any(result.is_over for result in results) or sum(result.minutes for result in results) > minutes_in_all
    has_failed = any(result.exit_code for result in results)
    return 1 if has_failed or (is_over and os.environ.get("CI") == "true") else 0


if __name__ == "__main__":
    sys.exit(main())
