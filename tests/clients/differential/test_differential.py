"""The same requests to real Kafka 4.3 and to our broker: every field of every answer is the same, or listed.

The cases are tables of request builders in cases_*.py; allowed.toml lists what may differ, with reasons. With
BROKER_UNDER_TEST=kafka the test compares Kafka with a second Kafka: a case that fails then is a wrong case.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from automq_broker.desk.index import accepted
from clients.broker_under_test import BrokerUnderTest
from clients.differential import (  # noqa: F401 (importing the cases enters them)
    cases_cluster,
    cases_configs,
    cases_connection,
    cases_groups,
    cases_produce,
    cases_read,
    cases_topics,
    cases_wide,
)
from clients.differential.plain import differences
from clients.differential.world import CASES, Case, World

pytestmark = pytest.mark.clients

_SERVED_ONLY_BY_KAFKA = {
    24: "transactions", 25: "transactions", 26: "transactions", 27: "transactions", 28: "transactions",
    65: "transactions", 66: "transactions",
    29: "ACLs", 30: "ACLs", 31: "ACLs", 50: "SCRAM", 51: "SCRAM", 17: "SASL", 36: "SASL",
    38: "delegation tokens", 39: "delegation tokens", 40: "delegation tokens", 41: "delegation tokens",
    34: "brokers own no log directories", 64: "no broker is forgotten yet", 57: "features",
    80: "no Raft quorum", 81: "no Raft quorum", 48: "quotas", 49: "quotas", 74: "resources of later issues",
    68: "KIP-848", 69: "KIP-848",
    76: "share groups", 77: "share groups", 78: "share groups", 79: "share groups", 83: "share groups",
    84: "share groups", 85: "share groups", 86: "share groups", 87: "share groups", 90: "share groups",
    91: "share groups", 92: "share groups", 88: "streams groups", 89: "streams groups",
}  # fmt: skip
"""API keys that the broker does not advertise, each with the work that it belongs to."""


@dataclass(slots=True)
class Allowances:
    """The rows of allowed.toml and how often each was needed."""

    rows: list[dict[str, Any]]
    needed: set[int] = field(default_factory=set)

    def covers(self, title: str, step: str, difference: tuple[str, Any, Any]) -> bool:
        """Whether a difference is on the list; remembers the row."""
        path, ours, kafkas = difference
        for number, row in enumerate(self.rows):
            is_place = fnmatchcase(title, row["case"]) and fnmatchcase(f"{step}: {path}", row["path"])
            if is_place and ours == row.get("ours", ours) and kafkas == row.get("kafka", kafkas):
                self.needed.add(number)
                return True
        return False


@pytest.fixture(scope="module")
def allowances() -> Allowances:
    """The list of allowed differences."""
    return Allowances(rows=tomllib.loads((Path(__file__).parent / "allowed.toml").read_text()).get("allowed", []))


@pytest.fixture(scope="module")
def ours(broker: BrokerUnderTest) -> World:
    """The broker under test."""
    return World(host=broker.host, port=broker.port)


@pytest.fixture(scope="module")
def kafkas(kafka_peer: BrokerUnderTest) -> Iterator[World]:
    """Real Kafka."""
    return World(host=kafka_peer.host, port=kafka_peer.port)


def test_the_advertised_table_is_kafkas_without_what_comes_later(ours: World, kafkas: World) -> None:
    mine, theirs = ours.advertised(), kafkas.advertised()
    wrong = {key: (mine[key], theirs.get(key)) for key in mine if mine[key] != theirs.get(key)}
    assert not wrong, f"key: (ours, Kafka's) {wrong}"
    assert sorted(set(theirs) - set(mine) - set(_SERVED_ONLY_BY_KAFKA)) == []


def test_every_served_version_of_every_api_is_compared() -> None:
    compared = {(wanted.key, version) for wanted in CASES for version in wanted.versions}
    assert accepted() - compared == set()


@pytest.mark.parametrize("wanted", CASES, ids=lambda wanted: wanted.title)
def test_answers_are_kafkas(wanted: Case, ours: World, kafkas: World, allowances: Allowances) -> None:
    # One complaint per difference, with all versions that show it.
    complaints: dict[tuple[str, str, str], list[int]] = {}
    for version in wanted.versions:
        mine, theirs = ours.run(wanted, version), kafkas.run(wanted, version)
        assert [title for title, _ in mine] == [title for title, _ in theirs], f"v{version}: the conversations fork"
        for number, ((step, answer), (_, expected)) in enumerate(zip(mine, theirs, strict=True)):
            for difference in differences(answer, expected):
                if not allowances.covers(wanted.title, step, difference):
                    path, our_value, kafka_value = difference
                    place = f"step {number} ({step.rpartition(' v')[0] or step}) {path}"
                    complaints.setdefault((place, repr(our_value), repr(kafka_value)), []).append(version)
    listed = [
        f"{place} in v{', '.join(map(str, versions))}:\n    ours {our_value}, Kafka's {kafka_value}"
        for (place, our_value, kafka_value), versions in complaints.items()
    ]
    assert not listed, f"{len(listed)} differences:\n" + "\n".join(listed[:40])


def test_no_allowance_has_become_needless(
    request: pytest.FixtureRequest, broker: BrokerUnderTest, allowances: Allowances
) -> None:
    if broker.kind != "automq" or request.config.option.keyword:
        pytest.skip("only a whole run against our broker needs them all")
    needless = [row for number, row in enumerate(allowances.rows) if number not in allowances.needed]
    assert not needless
