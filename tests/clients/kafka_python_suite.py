"""Prepares and runs kafka-python's own integration tests, which its sdist carries, against a running broker.

The sdist lacks what the tests import from the repository (`test/__init__.py`, `test/service.py`); the shim below
supplies it in our words: the tests are told of an external broker, so all that is needed is a holder of its address.
"""

import os
import subprocess
import sys
import tarfile
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

_LIST = tomllib.loads((Path(__file__).parent / "kafka_python_suite.toml").read_text())
_CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka-python"
VERSION: str = _LIST["version"]
LEFT_OUT: dict[str, str] = _LIST["left_out"]
_FOLDER = "test/integration"

_SERVICE_SHIM = '''"""Stands in for the repository's test/service.py, which the sdist does not carry."""


class ExternalService:
    """The address of a broker that somebody else runs."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def dump_logs(self):
        """Nothing to dump: the broker is not ours."""


class SpawnedService:
    """The tests are told of an external broker, so nothing is ever spawned."""

    def __init__(self, *args, **kwargs):
        raise AssertionError("kafka-python's tests must use the external broker")
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One test of the foreign suite: `status` is passed, failed or skipped; `detail` is the end of its report."""

    name: str
    status: str
    detail: str


def prepare() -> Path:
    """Download and unpack the sdist once (pip, its usual registry), add the shim; returns the directory to run in."""
    target = _CACHE / f"kafka_python-{VERSION}"
    if not (target / "test").is_dir():
        _CACHE.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run(
            [*download, "--dest", str(_CACHE), f"kafka-python=={VERSION}"], stdin=subprocess.DEVNULL, check=True
        )
        with tarfile.open(_CACHE / f"kafka_python-{VERSION}.tar.gz") as archive:
            archive.extractall(_CACHE, filter="data")
    (target / "test" / "__init__.py").write_text("")
    (target / "test" / "service.py").write_text(_SERVICE_SHIM)
    # The installed kafka package is the one under test, not the sources beside the tests.
    run_in = _CACHE / "run"
    run_in.mkdir(exist_ok=True)
    if not (run_in / "test").exists():
        (run_in / "test").symlink_to(target / "test")
    return run_in


def run_suite(bootstrap: str, report: Path, *, timeout_s: float = 240) -> list[Outcome]:
    """Run the listed tests in a child pytest against `bootstrap`; returns one outcome per test, in their order."""
    directory = prepare()
    selected = [f"{_FOLDER}/{name}" for name in _LIST["run"]]
    deselected = [option for name in LEFT_OUT for option in ("--deselect", f"{_FOLDER}/{name}")]
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(directory), "-p", "no:cacheprovider"]
    command += ["-q", "--timeout", "60", "--junitxml", str(report), "-W", "ignore", *deselected, *selected]
    environment = {
        **os.environ,
        "KAFKA_VERSION": "4.3",
        "KAFKA_URI": f"kafka://{bootstrap}",
        "KAFKA_ROOT": str(directory),
    }
    finished = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if not report.exists():
        raise AssertionError(f"kafka-python's suite did not run:\n{finished.stdout[-3000:]}{finished.stderr[-3000:]}")
    return [_outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def _outcome(case: ElementTree.Element) -> Outcome:
    name = f"{case.get('classname', '').rpartition('.')[2]}.py::{case.get('name')}"
    for status, tag in (("failed", "failure"), ("failed", "error"), ("skipped", "skipped")):
        found = case.find(tag)
        if found is not None:
            return Outcome(name=name, status=status, detail=(found.text or found.get("message") or "")[-3000:])
    return Outcome(name=name, status="passed", detail="")
