"""Apache Kafka's own command-line tools, from the 4.3 jars: what operators type, and Java's producer and consumer.

A JVM costs about a second before it does anything, so each test takes one tool through as much as one call can show.
"""

import json
import re
import subprocess
from collections.abc import Callable

import pytest
from clients.confluent import create_topic, read_partition
from clients.tooling import require_kafka_jars, run
from twins import kafka_peer

pytestmark = pytest.mark.clients

Fresh = Callable[[str], str]
Tool = Callable[..., str]

_TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
}


def _command(tool: str, bootstrap: str, *arguments: str) -> list[str]:
    quiet = {"org.slf4j.simpleLogger.defaultLogLevel": "error"}
    return kafka_peer.java_command(_TOOLS[tool], "--bootstrap-server", bootstrap, *arguments, properties=quiet)


@pytest.fixture
def tool(bootstrap: str) -> Tool:
    """Runs one of Kafka's tools under the name of its script: `tool("kafka-topics", "--list")`."""
    require_kafka_jars()
    return lambda name, *arguments, data=None: run(_command(name, bootstrap, *arguments), data=data, timeout_s=60)


def test_kafka_topics_creates_describes_alters_and_deletes(tool: Tool, fresh: Fresh) -> None:
    topic = fresh("java-topics")
    options = ["--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000"]
    assert f"Created topic {topic}." in tool("kafka-topics", "--create", "--topic", topic, *options)
    tool("kafka-topics", "--alter", "--topic", topic, "--partitions", "3")
    described = tool("kafka-topics", "--describe", "--topic", topic)
    assert "PartitionCount: 3" in described
    assert "ReplicationFactor: 1" in described
    assert "retention.ms=3600000" in described
    assert len(re.findall(r"Partition: \d\s+Leader: 0\s+Replicas: 0\s+Isr: 0", described)) == 3
    tool("kafka-topics", "--delete", "--topic", topic)
    assert topic not in tool("kafka-topics", "--list").split()


def test_kafka_configs_shows_and_changes_topics_and_brokers(tool: Tool, bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("java-configs")
    create_topic(bootstrap, topic)
    entity = ["--entity-type", "topics", "--entity-name", topic]
    tool("kafka-configs", *entity, "--alter", "--add-config", "max.message.bytes=4096,retention.ms=7200000")
    tool("kafka-configs", *entity, "--alter", "--delete-config", "retention.ms")
    shown = tool("kafka-configs", *entity, "--describe", "--all")
    assert re.search(r"max\.message\.bytes=4096 .*DYNAMIC_TOPIC_CONFIG:max\.message\.bytes=4096", shown)
    assert re.search(r"retention\.ms=604800000 ", shown)
    broker = tool("kafka-configs", "--entity-type", "brokers", "--entity-name", "0", "--describe", "--all")
    assert "message.max.bytes=1048588" in broker


def test_console_producer_and_consumer_carry_keys_and_lines(tool: Tool, bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("java-console"), fresh("g")
    create_topic(bootstrap, topic)
    lines = [f"k{number}:v{number}" for number in range(200)]
    keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"]
    tool("kafka-console-producer", "--topic", topic, *keyed, "--compression-codec", "zstd", data="\n".join(lines))
    shown = ["--formatter-property", "print.key=true", "--formatter-property", "key.separator=:"]
    options = ["--topic", topic, "--group", group, "--from-beginning", "--max-messages", "200", "--timeout-ms", "20000"]
    assert tool("kafka-console-consumer", *options, *shown).splitlines() == lines


def test_kafka_consumer_groups_describes_resets_and_deletes(tool: Tool, bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("java-groups"), fresh("g")
    create_topic(bootstrap, topic)
    tool("kafka-console-producer", "--topic", topic, data="\n".join(f"{number}" for number in range(10)))
    reset = ["--group", group, "--topic", topic, "--reset-offsets", "--to-offset", "4", "--execute"]
    tool("kafka-consumer-groups", *reset)
    described = tool("kafka-consumer-groups", "--describe", "--group", group)
    # GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
    assert re.search(rf"{group}\s+{topic}\s+0\s+4\s+10\s+6\s+-\s+-\s+-", described), described
    assert group in tool("kafka-consumer-groups", "--list").split()
    assert "successful" in tool("kafka-consumer-groups", "--delete", "--group", group)


def test_producer_and_consumer_performance_run_to_the_end(tool: Tool, bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("java-perf")
    create_topic(bootstrap, topic, partitions=3)
    count = ["--num-records", "20000"]
    produced = tool("kafka-producer-perf-test", "--topic", topic, *count, "--record-size", "100", "--throughput", "-1")
    assert "20000 records sent" in produced
    consumed = tool("kafka-consumer-perf-test", "--topic", topic, *count, "--timeout", "20000")
    # The last line: start, end, MB consumed, MB/s, records consumed, ...
    assert consumed.strip().splitlines()[-1].split(",")[4].strip() == "20000", consumed


def test_verifiable_producer_and_consumer_agree_on_every_record(tool: Tool, bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("java-verifiable"), fresh("g")
    create_topic(bootstrap, topic, partitions=2)
    produced = _events(tool("kafka-verifiable-producer", "--topic", topic, "--max-messages", "500", "--acks", "-1"))
    acked = {int(event["value"]) for event in produced if event["name"] == "producer_send_success"}
    assert acked == set(range(500))
    options = ["--topic", topic, "--group-id", group, "--max-messages", "500", "--reset-policy", "earliest"]
    consumed = _events(tool("kafka-verifiable-consumer", *options, "--verbose"))
    seen = [int(str(event["value"])) for event in consumed if event["name"] == "record_data"]
    assert sorted(seen) == sorted(acked)
    committed = [event for event in consumed if event["name"] == "offsets_committed"]
    assert committed, "the consumer commits what it has read"
    assert all(event["success"] for event in committed)
    stored = sum(len(read_partition(bootstrap, topic, partition)) for partition in range(2))
    assert stored == 500


def test_two_java_consumers_of_one_group_share_the_partitions(bootstrap: str, fresh: Fresh) -> None:
    require_kafka_jars()
    topic, group = fresh("java-two"), fresh("g")
    create_topic(bootstrap, topic, partitions=4)
    options = ["--topic", topic, "--group-id", group, "--session-timeout", "6000"]
    command = _command("kafka-verifiable-consumer", bootstrap, *options)
    consumers = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    try:
        shares = [_wait_assigned(consumer, partitions=2) for consumer in consumers]
    finally:
        for consumer in consumers:
            consumer.kill()
            consumer.communicate()
    assert sorted(shares[0] + shares[1]) == [0, 1, 2, 3]


def _wait_assigned(consumer: "subprocess.Popen[bytes]", *, partitions: int) -> list[int]:
    """Read the consumer's events until it holds exactly `partitions`; pytest's timeout bounds the wait."""
    assert consumer.stdout is not None
    for line in consumer.stdout:
        event = json.loads(line)
        if event["name"] == "partitions_assigned" and len(event["partitions"]) == partitions:
            return [partition["partition"] for partition in event["partitions"]]
    raise AssertionError(f"the consumer ended with {consumer.wait()} without {partitions} partitions")


def _events(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
