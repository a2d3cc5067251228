"""Which broker the client suites talk to: one switch, so that every suite also runs against real Kafka.

`BROKER_UNDER_TEST` is one of

- `automq` (default): our broker, started as a child process for the session;
- `kafka`: Apache Kafka 4.3 from its jars; a test that fails there is a wrong test;
- `host:port`: a broker that somebody else started.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twins.broker_process import BrokerProcess
from twins.kafka_peer import KafkaPeer

# What the suites need and a fresh broker of either kind does not have by default:
# node 0 and short sessions are what kafka-python's own tests were written for.
SETTINGS = {
    "node.id": "0",
    "num.partitions": "1",
    "auto.create.topics.enable": "true",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUnderTest:
    """`bootstrap` is host:port; `kind` is "automq", "kafka" or "external"."""

    kind: str
    bootstrap: str

    @property
    def host(self) -> str:
        """The host part of `bootstrap`."""
        return self.bootstrap.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port part of `bootstrap`."""
        return int(self.bootstrap.rpartition(":")[2])


@contextmanager
def running_kafka(directory: Path) -> Iterator[BrokerUnderTest]:
    """Real Kafka with the same settings, to compare with."""
    peer = KafkaPeer(directory / "kafka", settings=SETTINGS, heap="512m")
    peer.start()
    try:
        yield BrokerUnderTest(kind="kafka", bootstrap=peer.bootstrap)
    finally:
        peer.stop()


@contextmanager
def running(directory: Path) -> Iterator[BrokerUnderTest]:
    """Start what the environment asks for below `directory`, and end it afterwards."""
    wanted = os.environ.get("BROKER_UNDER_TEST", "automq")
    if wanted == "kafka":
        with running_kafka(directory) as peer:
            yield peer
    elif wanted == "automq":
        broker = BrokerProcess(directory / "automq", settings=SETTINGS)
        # Said, not derived, as in Kafka's own server.properties: kafka-python's tests look where it came from.
        broker.settings["advertised.listeners"] = f"PLAINTEXT://{broker.bootstrap}"
        broker.start()
        try:
            yield BrokerUnderTest(kind="automq", bootstrap=broker.bootstrap)
        finally:
            broker.stop()
    else:
        yield BrokerUnderTest(kind="external", bootstrap=wanted)
