"""What dashboards and rules ask is answered by a real Prometheus that scrapes a real broker and the operator's own page."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from automq_operator import health
from automq_operator.report.levels import OF_RESOURCES
from charts.rendering import CLUSTER, OPERATOR, ROOT
from charts.test_alerts import RUNBOOKS, groups
from charts.test_dashboards import PAGES, queries
from confluent_kafka import Consumer
from process.load import make_topic, produce, read_back
from twins.broker_process import BrokerProcess
from twins.child_process import free_ports, wait_until
from twins.kube_world import KubeWorld
from twins.prometheus_server import PrometheusServer, program

VARIABLES = {
    "cluster": "kafka/orders",
    "operator": "kafka/automq-automq-operator",
    "broker": ".*",
    "__rate_interval": "20s",
    "__range": "1m",
    "put_price": "0.0054",
    "get_price": "0.00043",
    "disk_price": "0.0952",
    "machine_price": "0.08",
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One that was produced to, consumed from, by a group that is behind, and broken rules at."""
    settings = {"s3.wal.upload.interval.ms": "500", "max.connections.per.ip.overrides": "127.0.0.2:0"}
    broker = BrokerProcess(tmp_path_factory.mktemp("broker"), settings=settings)
    broker.start()
    make_topic(broker.bootstrap, "t")
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def operators_port() -> Iterator[int]:
    """The page of an operator that made a cluster and waits for proof about a silent node of it."""
    for each in OF_RESOURCES:
        each.clear()  # other tests of this process had clusters of the same name
    world = KubeWorld.of()
    world.create()
    keeper = world.operator()
    world.settle(keeper)
    world.change(brokers={"replicas": 4})
    world.settle(keeper)
    world.controllers.kill_node(world.pod(1)["spec"]["nodeName"])
    world.run(keeper, 60)
    (port,) = free_ports(1)
    server = health.serve(port, lambda: None)
    yield port
    server.shutdown()


@pytest.fixture(scope="module")
def prometheus(
    broker: BrokerProcess, operators_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """It has seen what the broker was made to do while it was watched."""
    program()
    targets = {
        VARIABLES["cluster"]: (broker.admin_port, {"pod": "orders-broker-0"}),
        VARIABLES["operator"]: (operators_port, {"pod": "automq-operator-0"}),
    }
    rules = {"groups": [*groups(CLUSTER), *groups(OPERATOR)]}
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), targets, rules)
    server.start()
    wait_until(lambda: len(server.query("up == 1")) == 2, 20, "both are scraped")
    use(broker)
    wait_until(lambda: bool(server.query("automq_group_lag_records")), 20, "all of that was scraped")
    use(broker)  # again: only what grows from one scrape to the next has a rate
    made = f'automq_wal_bytes_total{{job="{VARIABLES["cluster"]}"}}'
    wait_until(lambda: bool(server.query(f"rate({made}[20s]) > 0")), 20, "two scrapes show what was done")
    wait_until(lambda: bool(server.query("rate(automq_upload_bytes_total[20s]) > 0")), 20, "uploads are seen")
    yield server
    server.stop()


def use(broker: BrokerProcess) -> None:
    """A little of everything that a panel shows."""
    sent = [b"%06d" % number for number in range(2000)]
    assert len(produce(broker.bootstrap, "t", sent)) == len(sent)
    assert len(read_back(broker.bootstrap, "t", len(sent))) == len(sent)
    group = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
    group.subscribe(["t"])
    assert len(group.consume(100, 20)) == 100
    group.commit(asynchronous=False)
    group.close()
    with socket.create_connection(("127.0.0.1", broker.port), source_address=("127.0.0.2", 0)) as peer:
        assert peer.recv(1) == b""


def filled(query: str) -> str:
    """As Grafana sends it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda found: VARIABLES[found.group(1)], query)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_panel_shows_something(page: Path, prometheus: PrometheusServer) -> None:
    empty = []
    for panel, query in queries(page):
        if not prometheus.query(filled(query)):
            empty.append(f"{panel}: {filled(query)}")
    assert "\n".join(each for each in empty if not any(name in each for name in RARE)) == ""


RARE = {
    "automq_balancer_moves_total": "a broker alone has nobody to balance with",
    "automq_request_errors_total": "nobody breaks the protocol",
    "automq_operator_events_lost_total": "the API server takes every Event",
}
"""Series that begin with their first event; the broker's own tests show them."""


def test_every_rule_is_evaluated_without_an_error(prometheus: PrometheusServer) -> None:
    def rules() -> list[dict[str, Any]]:
        found = prometheus.ask("rules")["groups"]
        return [rule for group in found for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] != "unknown" for rule in rules()), 20, "all were evaluated")
    assert [(rule["name"], rule["lastError"]) for rule in rules() if rule["health"] != "ok"] == []


def test_a_healthy_broker_raises_no_alert_and_a_silent_node_does(prometheus: PrometheusServer) -> None:
    def alerts() -> set[str]:
        return {each["labels"]["alertname"] for each in prometheus.ask("alerts")["alerts"]}

    wait_until(lambda: "AutoMQFencingPending" in alerts(), 20, "it is pending")
    # The cluster of the operator lives in a time of its own, long ago.
    assert alerts() - {"AutoMQClusterNotLookedAfter"} == {
        "AutoMQFencingPending",
        "AutoMQOperatorDown",
        "AutoMQRecoveryStuck",
    }


def test_the_queries_of_the_runbooks_can_be_asked(prometheus: PrometheusServer) -> None:
    found = [each for page in RUNBOOKS.glob("*.md") for each in asked_by(page.read_text())]
    assert len(found) > 30
    for query in found:
        prometheus.query(query)


def asked_by(page: str) -> list[str]:
    """What a page puts into backticks where it speaks of Prometheus."""
    paragraphs = [each for each in page.split("\n\n") if "In Prometheus" in each]
    quoted = [each for text in paragraphs for each in re.findall(r"`([^`]+)`", text.partition("In Prometheus")[2])]
    return [each for each in quoted if re.search(r"\bautomq_|\bprocess_|\bup\b", each)]


def test_the_query_that_keda_is_given_sees_the_brokers_traffic(prometheus: PrometheusServer) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    query = " ".join(page.partition("query: >-")[2].partition("threshold:")[0].split()).replace("[2m]", "[20s]")
    (found,) = prometheus.query(query)
    assert float(found["value"][1]) > 0
