"""A real Apache Kafka 4.3 broker on 127.0.0.1, from the jars that `tools/fetch_kafka.py` brings.

It is the reference of the differential test, the peer of the benchmarks, and the broker that the client suites are
checked against (`BROKER_UNDER_TEST=kafka`): a test that fails there is a wrong test.
"""

import importlib.util
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from twins.child_process import ChildProcess, ServerFailed, free_ports
from twins.readiness import speaks_kafka

_ROOT = Path(__file__).resolve().parents[2]


def _fetch_kafka() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_kafka", _ROOT / "tools" / "fetch_kafka.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def missing_tools() -> str | None:
    """None if Kafka's Java programs can run here, else the command that brings what is missing."""
    tool = _fetch_kafka()
    if shutil.which("java") is None or (shutil.which("mvn") is None and not tool.jars_directory().is_dir()):
        return str(tool.HOW_TO_INSTALL)
    return None


def java_command(
    main_class: str, *arguments: str, heap: str = "256m", properties: Mapping[str, str] | None = None
) -> list[str]:
    """The command line of one of Kafka's Java programs; fetches the jars if needed.

    C1 only and class-data sharing: a tool lives for a second, starting fast matters more than running fast.
    """
    jars = _fetch_kafka().fetch()
    system = [f"-D{key}={value}" for key, value in (properties or {}).items()]
    java = ["java", f"-Xmx{heap}", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return [*java, *system, "-cp", f"{jars}/*", main_class, *arguments]


class KafkaPeer:
    """One combined broker and controller; data, configuration and log live below `directory`.

    `settings` are added to (and win over) the properties of a one-broker cluster. Attributes after `start`:
    `bootstrap` (host:port), `process`. The same directory and port are kept by kill/start.
    """

    def __init__(self, directory: Path, *, heap: str = "1g", settings: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self._heap = heap
        self.port, controller_port = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process: ChildProcess | None = None
        self._properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(directory / "logs"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.initial.task.delay.ms": "3600000",  # records of the past stay: no retention in a test's lifetime
            **(settings or {}),
        }

    def start(self, timeout_s: float = 60) -> float:
        """Format the directory at the first start, exec Kafka, wait until it answers; returns seconds since exec."""
        self.spawn()
        return self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 60) -> float:
        """Wait until ApiVersions is answered; returns the seconds since exec."""
        assert self.process is not None
        return self.process.wait_ready(lambda: speaks_kafka(self.port), timeout_s)

    def spawn(self) -> ChildProcess:
        """Exec without waiting, for measuring the way to the first answer."""
        file = self.directory / "server.properties"
        if not file.exists():
            self._format(file)
        jars = _fetch_kafka().fetch()
        # The flags of bin/kafka-server-start.sh, with a heap that does not depend on the machine.
        java = ["java", f"-Xms{self._heap}", f"-Xmx{self._heap}", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]
        java += [
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-XX:+ExplicitGCInvokesConcurrent",
            "-Djava.awt.headless=true",
        ]
        java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        command = [*java, "-cp", f"{jars}/*", "kafka.Kafka", str(file)]
        self.process = ChildProcess(command, log_path=self.directory / "kafka.log")
        return self.process

    def kill(self) -> None:
        """SIGKILL; the data stays for the next `start`."""
        assert self.process is not None
        self.process.kill()

    def stop(self) -> None:
        """End it for good. SIGKILL: its data is not wanted again and its clean shutdown costs seconds."""
        if self.process is not None:
            self.process.kill()

    def _format(self, file: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{key}={value}\n" for key, value in self._properties.items()))
        storage = "kafka.tools.StorageTool"
        quiet = {"org.slf4j.simpleLogger.defaultLogLevel": "error"}
        cluster_id = _run(java_command(storage, "random-uuid", properties=quiet)).strip().splitlines()[-1]
        _run(java_command(storage, "format", "--standalone", "-t", cluster_id, "-c", str(file), properties=quiet))


def _run(command: list[str]) -> str:
    finished = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    if finished.returncode != 0:
        raise ServerFailed(f"{command[-1]}: {finished.stdout[-2000:]}{finished.stderr[-2000:]}")
    return finished.stdout
