"""`automq up` as a child process, with what a test needs to find and hurt its brokers."""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from automq_broker.contract.local import CLUSTER_FILE, LocalCluster
from automq_operator.platforms.local.layout import Ports
from automq_operator.platforms.local.processes import find
from twins.child_process import ChildProcess, free_ports, wait_until
from twins.readiness import speaks_kafka


class UpProcess:
    """One cluster of three; `log` is what `automq up` told. `settings` are as for its option --set."""

    def __init__(
        self, directory: Path, *, bucket: str | None = None, settings: Sequence[str] = (), wal: str = "file"
    ) -> None:
        self.data = directory / "data"
        self._wal = wal
        self._bucket = bucket
        self._settings = ("s3.wal.capacity=134217728", "group.initial.rebalance.delay.ms=0", *settings)
        self._log = directory / "up.log"
        self._port = free_ports(1)[0]
        self.process: ChildProcess | None = None

    def start(self) -> None:
        """Exec, and wait until every broker answers Kafka's protocol."""
        command = [sys.executable, "-m", "automq_broker", "up", "--data", str(self.data), "--port", str(self._port)]
        command += ["--wal", self._wal]
        if self._bucket is not None:
            command += ["--bucket", self._bucket]
        for setting in self._settings:
            command += ["--set", setting]
        self.process = ChildProcess(command, log_path=self._log, environment={"PYTHONUNBUFFERED": "1"})
        self.process.wait_ready(self.is_ready, 60)

    def is_ready(self) -> bool:
        """Whether every broker answers."""
        try:
            ports = [int(address.rpartition(":")[2]) for address in self.bootstrap.split(",")]
        except FileNotFoundError:
            return False
        return all(speaks_kafka(port) for port in ports)

    @property
    def local(self) -> LocalCluster:
        """What commands find in the data directory."""
        return LocalCluster.model_validate_json((self.data / CLUSTER_FILE).read_bytes())

    @property
    def bootstrap(self) -> str:
        """All brokers."""
        return self.local.bootstrap

    def ports(self, node_id: int) -> Ports:
        """Where a broker listens."""
        return Ports(**json.loads((self.data / "up" / "ports.json").read_text())[str(node_id)])

    def metrics(self, node_id: int) -> str:
        """The text of a broker's /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports(node_id).admin}/metrics", timeout=10) as page:
            return str(page.read(), "utf-8")

    def pid(self, node_id: int) -> int:
        """The process of a broker, as its lock file names it."""
        return int(json.loads((self.data / "brokers" / str(node_id) / "process.lock").read_text())["pid"])

    def signal(self, node_id: int, which: signal.Signals) -> None:
        """Hurt a broker."""
        os.kill(self.pid(node_id), which)

    def log(self) -> str:
        """Everything that was told so far, over all starts."""
        return self._log.read_text()

    def wait_told(self, words: str, timeout_s: float) -> None:
        """Until `automq up` told this."""
        wait_until(lambda: words in self.log(), timeout_s, f"automq up tells {words!r}", every_s=0.1)

    def kill(self) -> None:
        """SIGKILL `automq up` alone; its brokers live on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.kill()

    def end_leftovers(self) -> None:
        """SIGKILL every broker that still holds its lock: a test that failed must not leave a cluster behind."""
        for lock in self.data.glob("brokers/*/process.lock"):
            process = find(lock, lock)
            if process is not None:
                process.signal(signal.SIGKILL)

    def stop(self) -> int:
        """As Ctrl-C ends it."""
        assert self.process is not None
        return self.process.terminate(60)
