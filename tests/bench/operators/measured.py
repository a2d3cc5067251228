"""The operator's process, and what it costs."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

_READY_S = 120.0
_POLL_S = 0.05
_MIB = 1 << 20
_TURNED = re.compile(r"^automq_operator_last_turn_timestamp_seconds\{", re.MULTILINE)


@dataclass(slots=True)
class Operator:
    """`automq-operator run`."""

    process: subprocess.Popen[bytes]
    port: int
    started_at: float

    def planned_after(self, clusters: int) -> float:
        """Seconds from its start until every cluster had a whole turn."""
        while time.monotonic() - self.started_at < _READY_S:
            if self.process.poll() is not None:
                raise RuntimeError(f"the operator ended with {self.process.returncode}")
            if len(_TURNED.findall(self._metrics())) == clusters:
                return time.monotonic() - self.started_at
            time.sleep(_POLL_S)
        raise RuntimeError(f"not all of {clusters} clusters had a turn within {_READY_S:g} s")

    def _metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                found: str = answer.read().decode()
                return found
        except OSError:
            return ""

    def cpu_s(self) -> float:
        """User and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

    def stop(self) -> int:
        """In order: it lets the Lease go."""
        self.process.terminate()
        return self.process.wait(30)


def start(kubeconfig: Path, log: Path) -> Operator:
    """A fresh process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"KUBECONFIG": str(kubeconfig), "AUTOMQ_OPERATOR_PORT": str(port)}
    program = str(Path(sys.executable).parent / "automq-operator")
    with log.open("ab") as output:
        process = subprocess.Popen([program, "run"], env=environment, stdout=output, stderr=output)
    return Operator(process, port, time.monotonic())


__all__ = ["Operator", "start"]
