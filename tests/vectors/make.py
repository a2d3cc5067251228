"""Make messages.txt anew: random messages of ours, as Apache Kafka 4.3's own generated classes read and write them.

    python tests/vectors/make.py JARS > tests/vectors/messages.txt

JARS is a directory with kafka-clients, kafka-group-coordinator, kafka-transaction-coordinator (4.3.0),
kafka-server-common, jackson-core, jackson-databind, jackson-annotations and slf4j-api. Needs a JDK of 17 or newer.
"""

import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "broker")]

from automq_broker.wire import codec  # noqa: E402
from automq_broker.wire.index import APIS, OFFSETS, RECORDS, record_classes, request_class, response_class  # noqa: E402
from twins.random_messages import random_message  # noqa: E402

SIZE_MAX = 160
"""Small enough to keep the file readable, large enough for every field to be seen somewhere."""

MESSAGES = "org.apache.kafka.common.message."
GROUPS = "org.apache.kafka.coordinator.group.generated."
TRANSACTIONS = "org.apache.kafka.coordinator.transaction.generated."


def line(java_class, message_class, version):
    """The largest of a few random messages that stays below SIZE_MAX (or the smallest of all)."""
    chances = (random.Random(seed) for seed in range(12))
    drawn = [codec.encode(random_message(message_class, version, chance, is_tame=True), version) for chance in chances]
    drawn.sort(key=len)
    fitting = [data for data in drawn if len(data) <= SIZE_MAX]
    return f"{java_class} {version} {(fitting or drawn[:1])[-1].hex()}\n"


def lines():
    for entry in APIS.values():
        versions = {entry.min_version, min(entry.flexible_from, entry.max_version), entry.max_version}
        for version in sorted(versions):
            yield line(f"{MESSAGES}{entry.name}RequestData", request_class(entry.key), version)
            yield line(f"{MESSAGES}{entry.name}ResponseData", response_class(entry.key), version)
    for record in RECORDS:
        key, value = record_classes(record.topic, record.type)
        package = GROUPS if record.topic == OFFSETS else TRANSACTIONS
        yield line(f"{package}{record.name}Key", key, 0)
        for version in range(record.value_version + 1):
            yield line(f"{package}{record.name}Value", value, version)


if __name__ == "__main__":
    command = ["java", "-cp", f"{sys.argv[1]}/*", str(HERE / "KafkaVectors.java")]
    subprocess.run(command, input="".join(lines()), text=True, check=True)
