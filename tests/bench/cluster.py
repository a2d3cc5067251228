"""Brokers of one cluster for a row, without an operator: made, asked by their admin API, ended."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from automq_broker.commands.admin_client import AdminClient
from automq_broker.contract import admin
from confluent_kafka.admin import AdminClient as KafkaAdmin
from confluent_kafka.admin import NewTopic
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

from bench.lanes import Bench

_TOKEN = "a-token-of-the-benchmark"


@dataclass(slots=True)
class Cluster:
    """Some brokers without an operator."""

    directory: Path
    brokers: list[BrokerProcess]

    @property
    def bootstrap(self) -> str:
        """All of them, for clients."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def api(self, node_id: int) -> AdminClient:
        """The admin API of one broker."""
        return AdminClient([f"http://127.0.0.1:{self.brokers[node_id - 1].admin_port}"], token=_TOKEN)

    def controller(self, asked: int = 1) -> int | None:
        """Who holds the seat, as the broker knows that is asked."""
        return self.api(asked).ask(admin.CLUSTER, admin.Cluster).controller.node_id

    def make_topic(self, name: str, owners: Sequence[int], config: Mapping[str, str] | None = None) -> None:
        """One partition per entry, on that broker; open when this returns."""
        kafka = KafkaAdmin({"bootstrap.servers": self.bootstrap, "log_level": 3})
        topic = NewTopic(name, len(owners), replica_assignment=[[owner] for owner in owners], config=dict(config or {}))
        kafka.create_topics([topic], request_timeout=60)[name].result(60)
        wait_until(self.is_settled, 60, f"{name} is open", every_s=0.02)

    def is_settled(self) -> bool:
        """Every partition is open where it is to be."""
        found = self.api(1).ask(admin.CLUSTER, admin.Cluster)
        return found.partitions_moving == 0 and found.partitions_open == found.partitions


@contextmanager
def cluster_of(
    bench: Bench, count: int = 3, *, running: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """The first `running` of `count` (all) serve when this enters; whoever still runs is killed at the end."""
    directory = bench.new_directory()
    token = directory / "token"
    token.write_text(_TOKEN)
    # What moves here is what a row moves.
    given = {"automq.admin.token.file": str(token), "autobalancer.controller.enable": "false", **(settings or {})}
    brokers = cluster_processes(directory, count, settings=given)
    try:
        for broker in brokers[:running]:
            broker.spawn()
        for broker in brokers[:running]:
            assert broker.process is not None
            broker.process.wait_ready(broker.is_ready, 60)
        yield Cluster(directory, brokers)
    finally:
        for broker in brokers:
            if broker.process is not None:
                broker.process.kill()
        shutil.rmtree(directory, ignore_errors=True)


__all__ = ["Cluster", "cluster_of"]
