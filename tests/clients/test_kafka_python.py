"""kafka-python 3.0: a pure Python client with its own protocol code."""

from collections.abc import Callable

import pytest

Fresh = Callable[[str], str]

# The client reads its own message files through a deprecated door of importlib.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_records_come_back_with_keys_headers_and_timestamps(bootstrap: str, fresh: Fresh, codec: str | None) -> None:
    from kafka import KafkaConsumer, KafkaProducer

    topic = fresh("kafka-python")
    producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=codec, linger_ms=5)
    for number in range(100):
        producer.send(
            topic,
            key=b"k%d" % number,
            value=b"v%d" % number,
            headers=[("h", b"%d" % number)],
            timestamp_ms=1000 + number,
        )
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=fresh("g"), auto_offset_reset="earliest", consumer_timeout_ms=15000
    )
    found = []
    for record in consumer:
        found.append((record.offset, record.key, record.value, record.headers, record.timestamp))
        if len(found) == 100:
            break
    consumer.close()
    expected = [(n, b"k%d" % n, b"v%d" % n, [("h", b"%d" % n)], 1000 + n) for n in range(100)]
    assert [(o, k, v, [tuple(h) for h in headers], t) for o, k, v, headers, t in found] == expected
