"""Kafka's own tools and requests against a cluster of three brokers, each time through another one.

The brokers are started once; a JVM costs a second, so each test takes one tool through as much as one call can show.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic
from automq_broker.wire.apis.k15_describe_groups import DescribeGroupsRequest
from automq_broker.wire.apis.k19_create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreateTopicsRequest,
)
from automq_broker.wire.apis.k37_create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from automq_broker.wire.apis.k43_elect_leaders import ElectLeadersRequest, TopicPartitions
from automq_broker.wire.apis.k45_alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    ReassignablePartition,
    ReassignableTopic,
)
from automq_broker.wire.apis.k46_list_partition_reassignments import ListPartitionReassignmentsRequest
from automq_broker.wire.apis.k60_describe_cluster import DescribeClusterRequest
from automq_broker.wire.apis.k64_unregister_broker import UnregisterBrokerRequest
from automq_broker.wire.codes import ErrorCode
from clients.differential.conversation import Conversation
from clients.tooling import require_kafka_jars, run
from twins import kafka_peer
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

pytestmark = pytest.mark.clients

Fresh = Callable[[str], str]
Tool = Callable[..., str]

_TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
}


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BrokerProcess]]:
    """Brokers 1, 2 and 3."""
    settings = {
        "autobalancer.controller.enable": "false",  # these tests say themselves where partitions lie
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "6",
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
    }
    started = cluster_processes(tmp_path_factory.mktemp("cluster"), 3, settings=settings)
    for broker in started:
        broker.spawn()
    for broker in started:
        assert broker.process is not None
        broker.process.wait_ready(broker.is_ready, 40)
    yield started
    for broker in started:
        broker.stop()


@pytest.fixture
def tool(brokers: list[BrokerProcess]) -> Tool:
    """Runs one of Kafka's tools at one broker: `tool(2, "kafka-topics", "--list")`."""
    require_kafka_jars()
    quiet = {"org.slf4j.simpleLogger.defaultLogLevel": "error"}

    def call(node_id: int, name: str, *arguments: str, command: str | None = None) -> str:
        at = ["--bootstrap-server", brokers[node_id - 1].bootstrap]
        words = [command, *at] if command is not None else at
        return run(kafka_peer.java_command(_TOOLS[name], *words, *arguments, properties=quiet))

    return call


@contextmanager
def talking_to(broker: BrokerProcess) -> Iterator[Callable[[Any, int], Any]]:
    """`ask(request, version)` on one connection."""
    talk = Conversation("127.0.0.1", broker.port)

    def ask(request: Any, version: int) -> Any:
        talk.send(request, version)
        return talk.receive(30)

    try:
        yield ask
    finally:
        talk.close()


@contextmanager
def frozen(broker: BrokerProcess) -> Iterator[None]:
    """The process stands still, as one that swaps or hangs in the kernel."""
    assert broker.process is not None
    os.killpg(broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(broker.process.pid, signal.SIGCONT)


def create(broker: BrokerProcess, topic: str, *owners: list[int]) -> int:
    """A topic whose partition i gets the replicas owners[i]; the error code."""
    rows = [CreatableReplicaAssignment(partition_index=index, broker_ids=ids) for index, ids in enumerate(owners)]
    wanted = CreatableTopic(name=topic, num_partitions=-1, replication_factor=-1, assignments=rows)
    with talking_to(broker) as ask:
        answer = ask(CreateTopicsRequest(topics=[wanted], timeout_ms=10_000), 7)
    return int(answer.topics[0].error_code)


def grow(broker: BrokerProcess, topic: str, count: int, *owners: list[int]) -> int:
    """Partitions up to `count`, the new ones with these replicas; the error code."""
    wanted = CreatePartitionsTopic(
        name=topic, count=count, assignments=[CreatePartitionsAssignment(broker_ids=ids) for ids in owners]
    )
    with talking_to(broker) as ask:
        answer = ask(CreatePartitionsRequest(topics=[wanted], timeout_ms=10_000), 3)
    return int(answer.results[0].error_code)


def reassign(broker: BrokerProcess, topic: str, *rows: tuple[int, list[int] | None]) -> list[int]:
    """Ask for the replicas of each (partition, replicas), None = cancel; the error codes."""
    partitions = [ReassignablePartition(partition_index=index, replicas=ids) for index, ids in rows]
    request = AlterPartitionReassignmentsRequest(topics=[ReassignableTopic(name=topic, partitions=partitions)])
    with talking_to(broker) as ask:
        answer = ask(request, 1)
    return [row.error_code for row in answer.responses[0].partitions]


def ongoing(broker: BrokerProcess) -> list[tuple[str, int, list[int], list[int]]]:
    """(topic, partition, adding, removing) of every reassignment on its way."""
    with talking_to(broker) as ask:
        answer = ask(ListPartitionReassignmentsRequest(topics=None), 0)
    return [
        (topic.name, row.partition_index, row.adding_replicas, row.removing_replicas)
        for topic in answer.topics
        for row in topic.partitions
    ]


def elect(broker: BrokerProcess, topic: str, kind: int, *, timeout_ms: int) -> int:
    """Elect a leader for partition 0; the error code."""
    rows = [TopicPartitions(topic=topic, partitions=[0])]
    request = ElectLeadersRequest(election_type=kind, topic_partitions=rows, timeout_ms=timeout_ms)
    with talking_to(broker) as ask:
        answer = ask(request, 2)
    return int(answer.replica_election_results[0].partition_result[0].error_code)


def leaders(broker: BrokerProcess, topic: str) -> list[int]:
    """Leader ids by partition, as this broker tells them."""
    with talking_to(broker) as ask:
        answer = ask(MetadataRequest(topics=[MetadataRequestTopic(name=topic)]), 12)
    rows = sorted(answer.topics[0].partitions, key=lambda row: row.partition_index)
    return [row.leader_id for row in rows]


def advertised(broker: BrokerProcess) -> list[int]:
    """Ids of the brokers that this broker sends clients to."""
    with talking_to(broker) as ask:
        return sorted(row.node_id for row in ask(MetadataRequest(topics=[]), 12).brokers)


def fenced(broker: BrokerProcess) -> dict[int, bool]:
    """Every broker that DescribeCluster knows, and whether it is fenced."""
    with talking_to(broker) as ask:
        answer = ask(DescribeClusterRequest(include_fenced_brokers=True), 2)
    return {row.broker_id: row.is_fenced for row in answer.brokers}


def group_codes(broker: BrokerProcess, groups: list[str]) -> list[int]:
    """What DescribeGroups says of each group at this broker."""
    with talking_to(broker) as ask:
        return [row.error_code for row in ask(DescribeGroupsRequest(groups=groups), 5).groups]


def test_reassigning_makes_the_first_broker_of_the_list_the_leader(
    tool: Tool, brokers: list[BrokerProcess], fresh: Fresh, tmp_path: Path
) -> None:
    topic = fresh("moved")
    assert create(brokers[0], topic, [1], [2], [3]) == 0
    plan = tmp_path / "plan.json"
    rows = [(0, 2), (1, 3), (2, 1)]
    partitions = [{"topic": topic, "partition": index, "replicas": [node]} for index, node in rows]
    plan.write_text(json.dumps({"version": 1, "partitions": partitions}))
    file = ["--reassignment-json-file", str(plan)]
    started = tool(1, "kafka-reassign-partitions", *file, "--execute")
    assert f"Successfully started partition reassignments for {topic}-0,{topic}-1,{topic}-2" in started
    wait_until(lambda: leaders(brokers[1], topic) == [2, 3, 1], 10, "the moves")
    verified = tool(2, "kafka-reassign-partitions", *file, "--verify")
    assert verified.count("is completed.") == 3, verified
    assert "No partition reassignments found." in tool(3, "kafka-reassign-partitions", "--list")


def test_topics_get_the_assignments_that_were_written_down(
    tool: Tool, brokers: list[BrokerProcess], fresh: Fresh
) -> None:
    topic = fresh("placed")
    tool(3, "kafka-topics", "--create", "--topic", topic, "--replica-assignment", "2:1,3:1,1:2")
    more = ["--partitions", "5", "--replica-assignment", "2:1,3:1,1:2,3:1,3:2"]
    tool(1, "kafka-topics", "--alter", "--topic", topic, *more)
    described = tool(2, "kafka-topics", "--describe", "--topic", topic)
    assert re.findall(r"Leader: (\d)", described) == ["2", "3", "1", "3", "3"]
    assert all(leaders(broker, topic) == [2, 3, 1, 3, 3] for broker in brokers)


def test_elections_say_that_the_preferred_leader_leads(tool: Tool, brokers: list[BrokerProcess], fresh: Fresh) -> None:
    topic = fresh("elected")
    assert create(brokers[0], topic, [3]) == 0
    for kind in ("preferred", "unclean"):
        words = ["--election-type", kind, "--topic", topic, "--partition", "0"]
        assert f"Valid replica already elected for partitions {topic}-0" in tool(2, "kafka-leader-election", *words)


def test_brokers_are_configured_one_by_one_and_all_at_once(tool: Tool) -> None:
    one, all_of_them = (
        ["--entity-type", "brokers", "--entity-name", "2"],
        ["--entity-type", "brokers", "--entity-default"],
    )
    tool(1, "kafka-configs", *one, "--alter", "--add-config", "log.retention.ms=7200000")
    tool(2, "kafka-configs", *all_of_them, "--alter", "--add-config", "message.max.bytes=2000000")
    shown = tool(3, "kafka-configs", "--entity-type", "brokers", "--describe")
    found = [re.sub(r" sensitive=.*", "", line.strip()) for line in shown.strip().splitlines()]
    assert found == [
        "Dynamic configs for broker 1 are:",
        "Dynamic configs for broker 2 are:",
        "log.retention.ms=7200000",
        "Dynamic configs for broker 3 are:",
        "Default configs for brokers in the cluster are:",
        "message.max.bytes=2000000",
    ]
    tool(3, "kafka-configs", *one, "--alter", "--delete-config", "log.retention.ms")
    tool(3, "kafka-configs", *all_of_them, "--alter", "--delete-config", "message.max.bytes")
    every = tool(1, "kafka-configs", "--entity-type", "brokers", "--entity-name", "3", "--describe", "--all")
    assert "message.max.bytes=1048588" in every
    assert "node.id=3" in every


def test_the_cluster_and_its_logs_are_the_same_seen_from_any_broker(
    tool: Tool, brokers: list[BrokerProcess], fresh: Fresh
) -> None:
    topic = fresh("logs")
    assert create(brokers[0], topic, [1], [2], [3]) == 0
    ids = {tool(node_id, "kafka-cluster", command="cluster-id") for node_id in (1, 2)}
    assert len(ids) == 1
    endpoints = tool(3, "kafka-cluster", command="list-endpoints")
    assert re.findall(r"^(\d)\s+127\.0\.0\.1\s+(\d+)\s.*unfenced", endpoints, re.MULTILINE) == [
        (str(number), str(broker.port)) for number, broker in enumerate(brokers, 1)
    ]
    answer = tool(2, "kafka-log-dirs", "--describe", "--topic-list", topic)
    found = {
        row["broker"]: [partition["partition"] for log_dir in row["logDirs"] for partition in log_dir["partitions"]]
        for row in json.loads(answer.strip().splitlines()[-1])["brokers"]
    }
    assert found == {1: [f"{topic}-0"], 2: [f"{topic}-1"], 3: [f"{topic}-2"]}


def test_a_broker_that_serves_is_not_unregistered_and_an_unknown_one_is_told_to_be(
    brokers: list[BrokerProcess],
) -> None:
    with talking_to(brokers[0]) as ask:
        serving = ask(UnregisterBrokerRequest(broker_id=2), 0)
        assert serving.error_code == ErrorCode.INVALID_REQUEST
        assert "only one that has STOPPED" in serving.error_message
        unknown = ask(UnregisterBrokerRequest(broker_id=77), 0)
        assert unknown.error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
        assert unknown.error_message == "Broker ID 77 is not currently registered"


def test_the_quorum_is_the_controller_and_the_brokers_that_follow_it(tool: Tool, brokers: list[BrokerProcess]) -> None:
    (holder,) = [number for number, broker in enumerate(brokers, 1) if _role(broker) == "holder"]
    others = sorted({1, 2, 3} - {holder})
    status = tool(others[0], "kafka-metadata-quorum", "describe", "--status")
    assert re.search(rf"LeaderId: +{holder}$", status, re.MULTILINE), status
    assert re.search(rf'CurrentVoters: .*"id": {holder}\b', status), status
    observers = json.loads(re.findall(r"CurrentObservers: +(.*)", status)[0])
    assert sorted(row["id"] for row in observers) == others
    shown = tool(others[1], "kafka-metadata-quorum", "describe", "--replication")
    rows = [line.split() for line in shown.strip().splitlines()[1:]]
    # NodeId DirectoryId LogEndOffset Lag LastFetchTimestamp LastCaughtUpTimestamp Status
    assert sorted((int(row[0]), row[-1]) for row in rows) == sorted(
        [(holder, "Leader"), *((number, "Observer") for number in others)]
    )
    assert all(int(row[2]) > 0 and 0 <= int(row[3]) < 100 for row in rows), shown


def _role(broker: BrokerProcess) -> str:
    return str(broker.status()["controller"]["role"])


def test_groups_of_all_coordinators_are_found_through_any_broker(
    tool: Tool, brokers: list[BrokerProcess], fresh: Fresh
) -> None:
    topic = fresh("grouped")
    assert create(brokers[0], topic, [1]) == 0
    groups = sorted(fresh("g") for _ in range(3))
    words = ["--topic", topic, "--reset-offsets", "--to-earliest", "--execute"]
    for number, group in enumerate(groups, 1):
        tool(number, "kafka-consumer-groups", "--group", group, *words)
    assert sorted(tool(2, "kafka-consumer-groups", "--list").split()) == groups
    for codes in zip(*(group_codes(broker, groups) for broker in brokers), strict=True):
        assert sorted(codes) == [0, ErrorCode.NOT_COORDINATOR, ErrorCode.NOT_COORDINATOR]
    described = tool(3, "kafka-consumer-groups", "--describe", "--all-groups")
    assert sorted(re.findall(rf"^(\S+)\s+{topic}\s+0\s+0\s+0\s+0\s", described, re.MULTILINE)) == groups


def test_a_move_off_a_broker_that_stands_still_is_listed_and_can_be_cancelled(
    brokers: list[BrokerProcess], fresh: Fresh
) -> None:
    topic = fresh("stuck")
    assert create(brokers[0], topic, [3]) == 0
    # Not open yet it would have nothing to close, and move at once.
    wait_until(lambda: leaders(brokers[0], topic) == [3], 20, "broker 3 to lead")
    assert reassign(brokers[0], topic, (0, None)) == [ErrorCode.NO_REASSIGNMENT_IN_PROGRESS]
    # The controller may be any of the three; whichever it is, another one goes on when it stands still.
    with frozen(brokers[2]):
        assert reassign(brokers[0], topic, (0, [2, 3])) == [0]
        wait_until(lambda: ongoing(brokers[0]) == [(topic, 0, [2], [3])], 5, "the move in the list")
        wait_until(lambda: ongoing(brokers[1]) == [(topic, 0, [2], [3])], 5, "the move in the list of another")
        assert elect(brokers[0], topic, 0, timeout_ms=100) == ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE
        assert reassign(brokers[1], topic, (0, None)) == [0]
        assert ongoing(brokers[1]) == []
        wait_until(lambda: advertised(brokers[0]) == [1, 2], 30, "the fence of the silent broker")
        assert fenced(brokers[0]) == {1: False, 2: False, 3: True}
        assert elect(brokers[0], topic, 1, timeout_ms=100) == ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE
        assert create(brokers[0], fresh("late"), [3, 1]) == 0
        assert create(brokers[0], fresh("nowhere"), [3]) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
        assert grow(brokers[0], topic, 2, [3]) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
        assert grow(brokers[0], topic, 2, [3, 2]) == 0
        assert reassign(brokers[0], topic, (1, [3, 1])) == [0]
        wait_until(lambda: leaders(brokers[1], topic)[1:] == [1], 10, "the move to the live broker of the list")
    wait_until(lambda: leaders(brokers[0], topic) == [3, 1], 20, "broker 3 to be back")
    assert ongoing(brokers[0]) == []
