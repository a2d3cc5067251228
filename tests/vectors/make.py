"""Make messages.txt anew: random messages of ours, as Apache Kafka 4.3's own generated classes read and write them.

    python tests/vectors/make.py JARS > tests/vectors/messages.txt

JARS is a directory with kafka-clients, kafka-group-coordinator, kafka-transaction-coordinator (4.3.0),
kafka-server-common, jackson-core, jackson-databind, jackson-annotations and slf4j-api. Needs a JDK of 17 or newer.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "broker")]

from automq_broker.wire import codec  # noqa: E402
from automq_broker.wire.apis.records_consumer_group_member_metadata import (  # noqa: E402
    ClassicMemberMetadata,
    ConsumerGroupMemberMetadataValue,
)
from automq_broker.wire.index import APIS, OFFSETS, RECORDS, record_classes, request_class, response_class  # noqa: E402
from twins.random_messages import random_message  # noqa: E402

SIZE_MAX = 160
"""Small enough to keep the file readable, large enough for every field to be seen somewhere."""

MESSAGES = "org.apache.kafka.common.message."
GROUPS = "org.apache.kafka.coordinator.group.generated."
TRANSACTIONS = "org.apache.kafka.coordinator.transaction.generated."


def special_lines():
    """The one nullable struct in a tagged field: null, default, set."""
    structs = (None, ClassicMemberMetadata(), ClassicMemberMetadata(session_timeout_ms=5))
    for value in structs:
        message = ConsumerGroupMemberMetadataValue(client_id="c", classic_member_metadata=value)
        yield f"{GROUPS}ConsumerGroupMemberMetadataValue 0 {codec.encode(message, 0).hex()}\n"


def line(java_class, message_class, version):
    """The largest of a few random messages that stays below SIZE_MAX (or the smallest of all)."""
    chances = (random.Random(seed) for seed in range(12))
    drawn = [codec.encode(random_message(message_class, version, chance, is_tame=True), version) for chance in chances]
    drawn.sort(key=len)
    fitting = [data for data in drawn if len(data) <= SIZE_MAX]
    return f"{java_class} {version} {(fitting or drawn[:1])[-1].hex()}\n"


def lines():
    for entry in APIS.values():
        changes_at = min(max(entry.min_version, entry.flexible_from), entry.max_version)
        versions = {entry.min_version, changes_at, entry.max_version}
        for version in sorted(versions):
            yield line(f"{MESSAGES}{entry.name}RequestData", request_class(entry.key), version)
            yield line(f"{MESSAGES}{entry.name}ResponseData", response_class(entry.key), version)
    for record in RECORDS:
        key, value = record_classes(record.topic, record.type)
        package = GROUPS if record.topic == OFFSETS else TRANSACTIONS
        yield line(f"{package}{record.name}Key", key, 0)
        for version in range(record.value_version + 1):
            yield line(f"{package}{record.name}Value", value, version)
    yield from special_lines()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as classes:
        subprocess.run(["javac", "-cp", f"{sys.argv[1]}/*", "-d", classes, str(HERE / "KafkaVectors.java")], check=True)
        command = ["java", "-cp", f"{sys.argv[1]}/*:{classes}", "KafkaVectors"]
        subprocess.run(command, input="".join(lines()), text=True, check=True)
