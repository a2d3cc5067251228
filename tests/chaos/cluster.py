"""The cluster that is hurt: three brokers under `automq up`, their bucket, and proxies between them."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from automq_broker.commands.admin_client import AdminClient
from automq_broker.contract import admin
from automq_broker.kernel.errors import Refused
from chaos.faults import Fault, Kind
from chaos.proxy import Proxies
from confluent_kafka.admin import AdminClient as KafkaAdmin
from confluent_kafka.admin import NewTopic
from twins.child_process import wait_until
from twins.seaweed import SeaweedServer, seaweed
from twins.up_process import UpProcess

NODES = [1, 2, 3]
TOPIC = "chaos"


@dataclass(slots=True, kw_only=True)
class Wound:
    """A fault that happened: when it began, and when what ends by itself had ended (monotonic seconds)."""

    fault: Fault
    began: float
    ended: float


class Cluster:
    """See `cluster`; one run's."""

    def __init__(self, up: UpProcess, proxies: Proxies, s3: SeaweedServer | None) -> None:
        self.up = up
        self.has_s3 = s3 is not None
        self._proxies = proxies
        self._s3 = s3
        self._clients = [
            AdminClient([url], token=Path(up.local.token_file).read_text().strip()) for url in up.local.admin
        ]

    def make_topic(self, partitions: int) -> None:
        """The topic of the run."""
        kafka = KafkaAdmin({"bootstrap.servers": self.up.bootstrap})
        kafka.create_topics([NewTopic(TOPIC, partitions, 1)])[TOPIC].result(30)
        wait_until(self.is_well, 30, "the topic is open", every_s=0.1)

    def hurt(self, fault: Fault) -> Wound:
        """Let it happen, and wait until its own time is over; processes that died are not waited for."""
        began = time.monotonic()
        match fault.kind:
            case Kind.KILL | Kind.KILL_TWO:
                self._signal(fault.nodes, signal.SIGKILL)
            case Kind.KILL_CONTROLLER:
                self._signal([self.controller()], signal.SIGKILL)
            case Kind.TERMINATE:
                self._signal(fault.nodes, signal.SIGTERM)
            case Kind.PAUSE | Kind.PAUSE_CONTROLLER:
                self._pause(self._pids(fault.nodes or [self.controller()]), fault.seconds)
            case Kind.S3_STOP:
                assert self._s3 is not None
                self._pause([self._s3.pid], fault.seconds)
            case Kind.NET_DELAY | Kind.NET_RESET | Kind.NET_DROP:
                assert fault.rule is not None
                with self._proxies.hurting(fault.rule):
                    time.sleep(fault.seconds)
        return Wound(fault=fault, began=began, ended=time.monotonic())

    def controller(self) -> int:
        """Who holds the seat, as the newest answer says."""
        answers = self._ask_all()
        assert answers, "no broker answers"
        newest = max(answers, key=lambda answer: answer.controller.epoch)
        assert newest.controller.node_id is not None
        return newest.controller.node_id

    def is_well(self) -> bool:
        """Every broker is there and agrees that all serve, every partition is open where it is to be."""
        answers = self._ask_all()
        return len(answers) == len(NODES) and all(
            answer.brokers == {admin.BrokerStatus.ACTIVE: len(NODES)}
            and answer.partitions_open == answer.partitions
            and answer.partitions_moving == 0
            for answer in answers
        )

    def picture(self) -> list[str]:
        """How it is, for whoever has to find out why it is not well."""
        return [answer.model_dump_json() for answer in self._ask_all()] or ["no broker answers"]

    def _ask_all(self) -> list[admin.Cluster]:
        found = []
        for client in self._clients:
            with contextlib.suppress(Refused):
                found.append(client.ask(admin.CLUSTER, admin.Cluster))
        return found

    def _signal(self, nodes: Sequence[int], which: signal.Signals) -> None:
        for pid in self._pids(nodes):
            os.kill(pid, which)

    def _pids(self, nodes: Sequence[int]) -> list[int]:
        return [self.up.pid(node_id) for node_id in nodes]

    def _pause(self, pids: Sequence[int], seconds: float) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def cluster(directory: Path, *, has_s3: bool, settings: Sequence[str]) -> Iterator[Cluster]:
    """Started and well; at the end every process of it is gone, however the block ended."""
    with contextlib.ExitStack() as stack:
        s3: SeaweedServer | None = None
        if has_s3:
            s3 = stack.enter_context(seaweed(directory / "s3"))
            stack.enter_context(s3.environment())
        proxies = Proxies(NODES, lambda node_id: ("127.0.0.1", up.ports(node_id).internal))
        stack.callback(proxies.close)
        through = [f"{node}:advertised.listeners=INTERNAL://127.0.0.1:{port}" for node, port in proxies.ports.items()]
        up = UpProcess(directory, bucket=s3.uri(prefix="chaos") if s3 else None, settings=[*settings, *through])
        stack.callback(up.end_leftovers)
        up.start()
        yield Cluster(up, proxies, s3)


__all__ = ["NODES", "TOPIC", "Cluster", "Wound", "cluster"]
