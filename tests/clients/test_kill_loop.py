"""kill -9 under load, again and again: every acked record is read back exactly once.

KILL_LOOP_KILLS sets how often (default 50). The same loop runs against real Kafka with BROKER_UNDER_TEST=kafka
(a start of Kafka after a crash takes 12 s, so give it few).
"""

import os
import random
import time
from pathlib import Path

import pytest
from clients.broker_under_test import SETTINGS
from clients.confluent import create_topic
from clients.kill_load import Load, compare_with_log
from twins.broker_process import BrokerProcess
from twins.kafka_peer import KafkaPeer

_KILLS = int(os.environ.get("KILL_LOOP_KILLS", "50"))
_SEED = int(os.environ.get("KILL_LOOP_SEED", "20"))
# Small enough that the ring turns over and objects are uploaded, compacted and trimmed between the kills.
_SMALL = {
    "s3.wal.capacity": str(64 << 20),
    "s3.wal.upload.threshold": str(4 << 20),
    "s3.wal.upload.interval.ms": "1500",
}


def _server(directory: Path) -> BrokerProcess | KafkaPeer:
    if os.environ.get("BROKER_UNDER_TEST") == "kafka":
        return KafkaPeer(directory, settings={**SETTINGS, "log.flush.interval.messages": "1"})
    return BrokerProcess(directory, settings={**SETTINGS, **_SMALL})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_acked_record_survives_kill_9_under_load_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(_SEED)
    server = _server(tmp_path / "server")
    server.start()
    create_topic(server.bootstrap, "killed", partitions=4)
    load = Load(bootstrap=server.bootstrap, topic="killed", partitions=4, records_per_second=3000)
    load.start()
    recoveries_s: list[float] = []
    try:
        for _ in range(_KILLS):
            load.wait_acked_beyond(len(load.acked) + 100, timeout_s=30)
            time.sleep(chance.uniform(0.05, 1.5))
            server.kill()
            started = time.monotonic()
            acked_before = len(load.acked)
            server.start()
            load.wait_acked_beyond(acked_before, timeout_s=30)
            recoveries_s.append(time.monotonic() - started)
        load.finish()
        assert not load.failures, load.failures[:5]
        assert compare_with_log(load) == ""
    finally:
        server.stop()
    recoveries_s.sort()
    print(
        f"{_KILLS} kills, {len(load.acked)} of {load.sent} records acked and read back; exec to first new ack: "
        f"median {recoveries_s[len(recoveries_s) // 2]:.2f} s, worst {recoveries_s[-1]:.2f} s"
    )
