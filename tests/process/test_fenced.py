"""A process whose node was given to an adopter ends by itself, says so in one line, and its clients notice at once."""

import json
import socket
import urllib.request
import uuid
from pathlib import Path

from process.load import make_topic, produce
from twins.brokers import cluster_processes
from twins.child_process import wait_until

TOKEN = "a-token-of-sixteen-characters"


def test_a_broker_whose_epoch_was_taken_away_closes_its_clients_and_ends_with_one_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    brokers = cluster_processes(tmp_path, 2, settings={"automq.admin.token.file": str(token)})
    for broker in brokers:
        broker.start(40)
    first, second = brokers
    make_topic(first.bootstrap, "t")
    assert produce(first.bootstrap, "t", [b"a"]) == [b"a"]
    client = socket.create_connection(("127.0.0.1", first.port), timeout=5)
    request = {"node_id": 1, "broker_epoch": first.status()["broker_epoch"], "rescue": str(uuid.uuid4())}
    asked = urllib.request.Request(
        f"http://127.0.0.1:{second.admin_port}/v1/rescue",
        data=json.dumps(request).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        method="POST",
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["broker_epoch"] > request["broker_epoch"]
    process = first.process
    assert process is not None
    wait_until(lambda: not process.is_running, 10, "it ends")
    with client:
        assert client.recv(1) == b""
    assert process.exit_code == 1
    lines = [line for line in process.log().splitlines() if line.startswith("automq: ")]
    assert len(lines) == 1
    assert lines[0].startswith("automq: Fenced: EPOCH_GONE: node 1 is at broker epoch")
    assert "Traceback" not in process.log()
    second.stop()
