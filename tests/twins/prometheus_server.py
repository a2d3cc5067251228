"""A real Prometheus that scrapes what it is told every half second, for questions in its own language."""

import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from twins.child_process import ChildProcess, free_ports

Object = dict[str, Any]


def program() -> str:
    """Debian's `prometheus`; the test is skipped without it, with CI=true it fails."""
    found = shutil.which("prometheus")
    if found is None:
        missing = "prometheus is missing: apt-get install prometheus"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return found


class PrometheusError(Exception):
    """What it answered in place of data."""


class PrometheusServer:
    """`targets` are job -> (port of 127.0.0.1, labels besides); `rules` what is evaluated as well."""

    def __init__(self, directory: Path, targets: dict[str, tuple[int, dict[str, str]]], rules: Object) -> None:
        (self._port,) = free_ports(1)
        self._directory = directory
        self._targets = targets
        self._rules = rules
        self._process: ChildProcess | None = None

    def start(self) -> None:
        """Returns when it answers."""
        rules, config = self._directory / "rules.yaml", self._directory / "prometheus.yaml"
        rules.write_text(yaml.safe_dump(self._rules))
        config.write_text(yaml.safe_dump(self._config(rules)))
        command = [program(), f"--config.file={config}", f"--storage.tsdb.path={self._directory / 'tsdb'}"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn"]
        self._process = ChildProcess(command, log_path=self._directory / "prometheus.log", environment={})
        self._process.wait_ready(self._is_ready, 30)

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def query(self, expression: str) -> list[Object]:
        """An instant vector, or a scalar as the only element. Raises PrometheusError."""
        data = self.ask("query", query=expression)
        found: list[Object] = data["result"] if data["resultType"] == "vector" else [{"value": data["result"]}]
        return found

    def ask(self, path: str, **parameters: str) -> Any:
        """`data` of its API's answer. Raises PrometheusError, OSError where nobody answers."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise PrometheusError(f"{parameters}: {error.read().decode()}") from error

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("status/buildinfo"))
        except (OSError, PrometheusError):
            return False

    def _config(self, rules: Path) -> Object:
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}]}
            for job, (port, labels) in self._targets.items()
        ]
        times = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"}
        return {"global": times, "rule_files": [str(rules)], "scrape_configs": jobs}


__all__ = ["PrometheusError", "PrometheusServer", "program"]
