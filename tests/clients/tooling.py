"""Programs that pip cannot bring: found, or skipped by name with the command that would bring them.

On a laptop a missing program is a skip that the summary lists; with CI=true it is a failure, because a suite that
silently stops running is worse than none.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from twins import kafka_peer

_INSTALL = {
    "kcat": "apt-get install kcat",
    "node": "apt-get install nodejs npm",
    "npm": "apt-get install nodejs npm",
    "gcc": "apt-get install gcc libc6-dev librdkafka-dev",
}

MISSING: dict[str, str] = {}
"""Program -> install command, for the summary at the end of the run."""


def require(program: str) -> str:
    """The path of `program`; skips the test without it (fails when CI=true)."""
    path = shutil.which(program)
    if path is None:
        _give_up(program, _INSTALL[program])
    assert path is not None
    return path


def require_kafka_jars() -> None:
    """Skip (fail when CI=true) unless a JDK and either Maven or the jars are here."""
    if (install := kafka_peer.missing_tools()) is not None:
        _give_up("JDK and Maven", install)


def _give_up(program: str, install: str) -> None:
    MISSING[program] = install
    message = f"{program} is not installed; bring it with: {install}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def run(command: Sequence[str], *, data: str | bytes | None = None, timeout_s: float = 60) -> str:
    """Run a client program to its end and return its standard output; fails with its output if it does not exit 0."""
    given = data.encode() if isinstance(data, str) else data
    # Without data the program must find an empty standard input, never the terminal's or the CI's.
    source = subprocess.DEVNULL if given is None else subprocess.PIPE
    with subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(given, timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            pytest.fail(f"{' '.join(command)}: still running after {timeout_s} s\n{_tail(output)}\n{_tail(errors)}")
    if process.returncode != 0:
        pytest.fail(f"{' '.join(command)}: exit code {process.returncode}\n{_tail(output)}\n{_tail(errors)}")
    return output.decode()


def _tail(output: bytes) -> str:
    return output[-3000:].decode(errors="replace")
