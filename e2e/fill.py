"""`python -m e2e.fill BOOTSTRAP MEBIBYTES BROKER`: so much for one broker's log, in records that do not compress.

All of it is acknowledged, or the exit code is 1.
"""

import secrets
import sys
import time

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC = "fill"
PARTITIONS = 12
_RECORD = secrets.token_bytes(16 << 10)


def main() -> int:
    """Command line."""
    bootstrap, mebibytes, broker = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    partitions = _partitions(AdminClient({"bootstrap.servers": bootstrap}), broker)
    failures: list[KafkaError] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "queue.buffering.max.kbytes": 65536}
    )

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    for number in range((mebibytes << 20) // len(_RECORD)):
        while len(producer) > 3000:
            producer.poll(0.1)
        producer.produce(TOPIC, _RECORD, partition=partitions[number % len(partitions)], on_delivery=delivered)
        producer.poll(0)
    left = producer.flush(120)
    if left or failures:
        print(f"{left} records without an answer, {len(failures)} failed: {failures[:1]}")
    return 1 if left or failures else 0


def _partitions(admin: AdminClient, broker: int) -> list[int]:
    """Those that the broker leads, once all have a leader; the topic is made."""
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
    while True:
        leaders = {one.id: one.leader for one in admin.list_topics(TOPIC, 10).topics[TOPIC].partitions.values()}
        if len(leaders) == PARTITIONS and -1 not in leaders.values():
            return [partition for partition, leader in leaders.items() if leader == broker]
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
