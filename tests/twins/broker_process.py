"""Our own broker as a user runs it: `automq serve` as a child process on free ports of 127.0.0.1.

A kill -9 and a restart on the same data directory are one call each, which is what the crash tests are made of.
"""

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twins.child_process import ChildProcess, ServerFailed, free_ports
from twins.readiness import speaks_kafka

_READY_TIMEOUT_S = 30.0


class BrokerProcess:
    """One `automq serve`; data and log live below `directory`, ports stay the same over restarts.

    `bucket` is a URI, None for the directory below the data; `settings` become `--set key=value`, `arguments` are
    appended as they are. Attributes: `bootstrap` (host:port), `port`, `admin_port`, `process`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bucket: str | None = None,
        settings: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.port, self.admin_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process: ChildProcess | None = None
        self._bucket = bucket
        self._environment = dict(environment or {})
        self._arguments = list(arguments)
        self.settings = {"group.initial.rebalance.delay.ms": "0", **(settings or {})}

    def command(self) -> list[str]:
        """The command line, also for whoever wants to repeat a failure by hand."""
        command = [sys.executable, "-m", "automq_broker", "serve", "--data", str(self.directory / "data")]
        command += ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        if self._bucket is not None:
            command += ["--bucket", self._bucket]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command + self._arguments

    def spawn(self) -> ChildProcess:
        """Exec without waiting: for tests of refused starts, and for measuring the way to the first answer."""
        self.process = ChildProcess(
            self.command(),
            log_path=self.directory / "broker.log",
            environment={"PYTHONUNBUFFERED": "1", **self._environment},
        )
        return self.process

    def start(self, timeout_s: float = _READY_TIMEOUT_S) -> float:
        """Exec and wait until it is ready and answers on the Kafka port; returns seconds since exec."""
        return self.spawn().wait_ready(self.is_ready, timeout_s)

    def is_ready(self) -> bool:
        """Whether /readyz says 200 and ApiVersions is answered."""
        return self._get("/readyz")[0] == 200 and speaks_kafka(self.port)

    def readiness(self) -> str:
        """What /readyz says; empty if nobody answers."""
        return self._get("/readyz")[1].decode()

    def alive(self) -> int:
        """The HTTP status of /healthz, 0 if nobody answers."""
        return self._get("/healthz")[0]

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        assert self.process is not None
        self.process.kill()

    def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM and wait for the clean end; returns the exit code."""
        assert self.process is not None
        return self.process.terminate(timeout_s)

    def stop(self) -> None:
        """End it for good, gently if it still runs; a broker that died before its time fails the caller."""
        if self.process is None:
            return
        if not self.process.is_running:
            raise ServerFailed(
                f"the broker had ended by itself with {self.process.exit_code}:\n{self.process.log()[-4000:]}"
            )
        if (code := self.terminate()) != 0:
            raise ServerFailed(f"the broker ended with {code} after SIGTERM:\n{self.process.log()[-4000:]}")

    def status(self) -> Any:
        """The JSON of /status."""
        return self.ask("/status")

    def ask(self, path: str) -> Any:
        """The JSON of any page."""
        return json.loads(self._get(path)[1])

    def metrics(self) -> str:
        """The text of /metrics."""
        return self._get("/metrics")[1].decode()

    def post(self, path: str) -> int:
        """POST to the admin port; returns the HTTP status, 0 if nobody answers."""
        return self._request("POST", path)[0]

    def _get(self, path: str) -> tuple[int, bytes]:
        return self._request("GET", path)

    def _request(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
