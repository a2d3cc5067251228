"""Fixtures of the client suites: the broker under test, fresh names, and the list of clients that were not found."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from clients.broker_under_test import BrokerUnderTest, running, running_kafka
from clients.tooling import MISSING, require_kafka_jars


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerUnderTest]:
    """One broker for the whole session; suites keep apart by fresh topic and group names."""
    with running(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture(scope="session")
def kafka_peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerUnderTest]:
    """Real Kafka 4.3, to compare with; skips (fails when CI=true) without a JDK and Maven."""
    require_kafka_jars()
    with running_kafka(tmp_path_factory.mktemp("peer")) as started:
        yield started


@pytest.fixture
def bootstrap(broker: BrokerUnderTest) -> str:
    """host:port of the broker under test."""
    return broker.bootstrap


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Makes names that no other test uses: `fresh("orders")` -> "orders-3f2a…"."""
    return lambda stem: f"{stem}-{uuid.uuid4().hex[:10]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the clients that were skipped, each with the command that would bring it."""
    if MISSING:
        terminalreporter.section("clients that were not found here")
        for program, install in sorted(MISSING.items()):
            terminalreporter.line(f"{program}: {install}")
