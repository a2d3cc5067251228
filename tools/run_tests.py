"""Run the test suites of tests/budget.toml one after the other and hold their minutes against the budget.

Each suite is a pytest of its own, so that one suite's servers, ports and memory end with it. A suite over its budget
is reported; all together over theirs fail the run with CI=true. A test file that no suite runs fails the run everywhere.
A suite may say that it has deadlines on a real clock, which a busy machine can break: up to three of its tests that
fail are run once more, alone, and one that passes then is listed as flaky. No other suite gets a second run.

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
MOST_RUN_AGAIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A part of the tests with its budget in minutes; `without` are paths that belong to other suites."""

    name: str
    paths: tuple[str, ...]
    without: tuple[str, ...]
    minutes: float
    is_quick: bool
    has_deadlines: bool

    def files(self) -> list[Path]:
        """The test files of the suite, in order."""
        found = [file for path in self.paths for file in _test_files(ROOT / path)]
        left_out = [ROOT / path for path in self.without]
        return sorted(file for file in found if not any(file == out or out in file.parents for out in left_out))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a suite went: minutes on the clock, counts and names from pytest's report; `flaky` passed when run again."""

    suite: Suite
    minutes: float
    passed: int
    skipped: int
    failed: tuple[str, ...]
    flaky: tuple[str, ...]
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
            has_deadlines=bool(entry.get("deadlines", False)),
        )
        for name, entry in table["suite"].items()
    ]
    return suites, float(table["minutes_in_all"])


def orphans(suites: list[Suite]) -> list[Path]:
    """Test files below tests/ that no suite runs."""
    run = {file for suite in suites for file in suite.files()}
    return sorted(set(_test_files(ROOT / "tests")) - run)


def run_suite(suite: Suite, *, is_quick: bool, extra: list[str]) -> Result:
    """Run one suite's pytest with its output on the terminal, and its few failures again if it has deadlines."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pytest", f"--override-ini=cache_dir={scratch}/cache", *suite.paths]
        command += [f"--ignore={path}" for path in suite.without]
        command += ["-m", "not slow and not clients"] if is_quick else []
        start = time.monotonic()
        code, report = _pytest([*command, *extra], Path(scratch) / "report.xml")
        failed = report.failed
        flaky: tuple[str, ...] = ()
        if code == 1 and suite.has_deadlines and len(failed) <= MOST_RUN_AGAIN:
            print(f"\n=== {suite.name}: once more, alone: {', '.join(failed)}", flush=True)
            code, again = _pytest([*command, "--last-failed", *extra], Path(scratch) / "again.xml")
            # Any other end of the second run says nothing about the tests: they stay failed.
            if code in (0, 1):
                failed, flaky = again.failed, tuple(name for name in failed if name not in again.failed)
        minutes = (time.monotonic() - start) / 60
    # Exit code 5: every test was left out by a marker, which is nothing to complain about in a quick run.
    code = 0 if code == 5 and is_quick else code
    passed = report.tests - len(report.failed) + len(flaky) - report.skipped
    return Result(
        suite=suite, minutes=minutes, passed=passed, skipped=report.skipped, failed=failed, flaky=flaky, exit_code=code
    )


@dataclass(frozen=True, slots=True)
class Report:
    """What pytest's JUnit file says."""

    tests: int
    skipped: int
    failed: tuple[str, ...]


def _pytest(command: list[str], report: Path) -> tuple[int, Report]:
    finished = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    # A test that fails, and its fixture after it, are two cases of one name.
    names = tuple(dict.fromkeys(f"{case.get('classname')}::{case.get('name')}" for case in failed))
    skipped = sum(case.find("skipped") is not None for case in cases)
    return finished.returncode, Report(len(cases), skipped, names)


def _test_files(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def print_table(results: list[Result]) -> None:
    """Minutes per suite against the budget."""
    print(f"\n{'suite':<16}{'minutes':>8}{'budget':>8}{'passed':>8}{'skipped':>8}{'failed':>8}")
    for result in results:
        row = f"{result.suite.name:<16}{result.minutes:>8.1f}{result.suite.minutes:>8.1f}"
        row += f"{result.passed:>8}{result.skipped:>8}{len(result.failed):>8}"
        print(row + ("  over its budget" if result.is_over else "") + ("  FAILED" if result.exit_code else ""))
    minutes = sum(result.minutes for result in results)
    print(f"{'all':<16}{minutes:>8.1f}{sum(result.suite.minutes for result in results):>8.1f}")
    for result in results:
        for name in result.failed:
            print(f"FAILED {result.suite.name}: {name}")
        for name in result.flaky:
            print(f"FLAKY  {result.suite.name}: {name} (failed among the others, passed alone)")
    sys.stdout.flush()


def main() -> int:
    """Command line; exit code 1 if a suite failed, a test file is run by none, or (with CI=true) all took too long."""
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
    is_over = sum(result.minutes for result in results) > minutes_in_all
    has_failed = any(result.exit_code for result in results)
    return 1 if has_failed or (is_over and os.environ.get("CI") == "true") else 0


if __name__ == "__main__":
    sys.exit(main())
