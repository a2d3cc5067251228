"""verify, rescue and the inspecting commands against what a real broker left behind, and beside it while it runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from automq_operator.platforms.local.layout import lay_out
from commands.world import automq, consume, data_objects, produce, started
from twins.broker_process import BrokerProcess
from twins.child_process import wait_until
from twins.readiness import speaks_kafka

RECORDS = [f"record {number}" for number in range(300)]


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a broker left that was stopped in order three times: three objects of topic `orders`, two partitions."""
    for run in range(3):
        broker = started(tmp_path)
        produce(broker, "orders", RECORDS[100 * run : 100 * run + 100], partition=0)
        produce(broker, "orders", [f"other {run}"], partition=1)
        broker.stop()
    assert len(data_objects(tmp_path)) == 3
    return tmp_path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = started(tmp_path)
    produce(broker, "orders", RECORDS)
    yield broker
    broker.stop()


def data(directory: Path) -> tuple[str, Path]:
    return "--data", directory / "data"


def restarted(directory: Path) -> tuple[dict[int, str], dict[int, str]]:
    broker = started(directory)
    try:
        return consume(broker, "orders", 0), consume(broker, "orders", 1)
    finally:
        broker.stop()


ALL = (dict(enumerate(RECORDS)), {n: f"other {n}" for n in range(3)})


def test_verify_finds_a_whole_bucket_whole_and_each_damage_by_name(left: Path) -> None:
    ended = automq("verify", *data(left), "--deep", "--json")
    assert (ended.code, ended.json["is_clean"], ended.json["objects"], ended.json["findings"]) == (0, True, 3, [])

    first, second, third = data_objects(left)
    bytes_before = first.read_bytes()
    first.write_bytes(b"\xff" + bytes_before[1:])
    second.unlink()
    third.write_bytes(third.read_bytes() + b"!")
    (left / "data/bucket/data/00").mkdir()
    shutil.copy(first, left / "data/bucket/data/00" / f"{(1 << 40):020d}")
    ended = automq("verify", *data(left), "--json")
    found = {(each["severity"], each["problem"]) for each in ended.json["findings"]}
    assert ended.code == 1
    assert found == {("LOSS", "missing"), ("LOSS", "size"), ("NOTE", "orphan")}
    assert all((each["age_ms"] is not None) == (each["problem"] == "orphan") for each in ended.json["findings"])
    deep = automq("verify", *data(left), "--deep", "--json")
    assert ("LOSS", "block") in {(each["severity"], each["problem"]) for each in deep.json["findings"]}
    assert automq("verify", *data(left)).out.endswith("Bucket and metadata DISAGREE.\n")


def test_verify_that_cannot_run_says_so_in_one_line_and_by_its_exit_code(tmp_path: Path) -> None:
    ended = automq("verify", "--data", tmp_path / "nothing")
    assert ended.code == 2
    assert ended.err == (f"automq: no bucket at {tmp_path}/nothing/bucket: name it with --bucket URI or --data DIR\n")
    (tmp_path / "empty").mkdir()
    ended = automq("verify", "--bucket", tmp_path / "empty")
    assert (ended.code, ended.out) == (2, "")
    assert "the bucket prefix holds no cluster (no object meta/head)" in ended.err


def test_verify_counts_metadata_that_does_not_load_as_a_disagreement(left: Path) -> None:
    head = left / "data/bucket/meta/head"
    head.write_bytes(head.read_bytes()[:-1])
    ended = automq("verify", *data(left), "--json")
    assert ended.code == 1
    assert [each["problem"] for each in ended.json["findings"]] == ["metadata"]


def test_verify_beside_a_broker_under_load_raises_no_false_alarm(tmp_path: Path) -> None:
    broker = started(tmp_path, **{"s3.wal.upload.interval.ms": "100"})
    for _ in range(4):
        produce(broker, "orders", RECORDS)
        ended = automq("verify", *data(tmp_path), "--deep", "--json")
        assert (ended.code, ended.json["is_clean"]) == (0, True), ended.out
    broker.stop()


def test_rescue_from_objects_alone_brings_every_topic_and_record_back(left: Path) -> None:
    shutil.rmtree(left / "data/bucket/meta")
    plan = automq("rescue", *data(left), "--dry-run", "--json")
    assert (plan.code, plan.json["is_done"], plan.json["source"]) == (0, False, "objects alone")
    assert not (left / "data/bucket/meta").exists()
    ended = automq("rescue", *data(left), "--json")
    assert (ended.code, ended.json["is_done"], ended.json["losses"]) == (0, True, [])
    assert [(topic["topic"], len(topic["partitions"])) for topic in ended.json["topics"]] == [("orders", 2)]
    assert automq("verify", *data(left), "--deep").code == 0
    assert restarted(left) == ALL
    assert automq("verify", *data(left), "--deep").code == 0


def test_rescue_brings_back_what_only_the_wal_of_a_killed_broker_holds(left: Path) -> None:
    broker = started(left)
    produce(broker, "orders", ["late 0", "late 1"], partition=0)
    produce(broker, "fresh", ["never uploaded"], partition=0)
    broker.kill()
    shutil.rmtree(left / "data/bucket/meta")
    ended = automq("rescue", *data(left), "--json")
    assert (ended.code, ended.json["losses"]) == (0, [])
    (unnamed,) = [topic["topic"] for topic in ended.json["topics"] if topic["topic"].startswith("rescued-stream-")]
    assert restarted(left) == ({**ALL[0], 300: "late 0", 301: "late 1"}, ALL[1])
    broker = started(left)
    assert list(consume(broker, unnamed).values()) == ["never uploaded"]
    broker.stop()


def test_rescue_goes_around_damaged_and_missing_objects_and_says_what_is_lost(left: Path) -> None:
    _, second, _ = data_objects(left)
    second.write_bytes(second.read_bytes()[:-1])
    shutil.rmtree(left / "data/bucket/meta")
    ended = automq("rescue", *data(left), "--json")
    assert ended.code == 0
    assert ended.json["losses"] == ["orders-0 offsets 100..199", "orders-1 offsets 1..1"]
    assert [each["subject"] for each in ended.json["left_out"]] == [f"data/{second.parent.name}/{second.name}"]
    assert restarted(left) == (
        {offset: value for offset, value in ALL[0].items() if not 100 <= offset < 200},
        {0: "other 0", 2: "other 2"},
    )
    assert automq("verify", *data(left), "--deep").code == 0


def test_rescue_prefers_a_surviving_snapshot_and_keeps_what_objects_do_not_know(left: Path) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    broker = started(left)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    (created,) = admin.create_topics([NewTopic("empty", 7, config={"retention.ms": "12345"})]).values()
    created.result(10)
    broker.stop()
    # Made by a rescue that is told to replace the head: the only snapshot that so small a cluster has.
    assert automq("rescue", *data(left), "--replace-head").code == 0
    (left / "data/bucket/meta/head").unlink()
    ended = automq("rescue", *data(left), "--json")
    assert ended.code == 0
    assert ended.json["source"].startswith("snapshot meta/snapshot/")
    topics = automq("meta", "dump", "topics", "--topic", "empty", *data(left), "--json").json
    assert (topics["partitions"], topics["configs"]) == (7, {"retention.ms": "12345"})
    assert restarted(left) == ALL
    assert automq("rescue", *data(left), "--objects-only", "--dry-run", "--json").json["source"] == "objects alone"


def test_rescue_never_replaces_a_head_unasked_and_says_what_it_saw(left: Path) -> None:
    head = (left / "data/bucket/meta/head").read_bytes()
    ended = automq("rescue", *data(left))
    assert ended.code == 1
    assert "automq: meta/head is that of cluster " in ended.err
    assert "released in good order" in ended.err
    assert ended.err.endswith(
        "and the metadata that it names is whole. Nothing was changed. "
        "If this head must go, stop every broker and say --replace-head\n"
    )
    assert (left / "data/bucket/meta/head").read_bytes() == head


def test_rescue_beside_a_running_broker_is_refused(running: BrokerProcess) -> None:
    ended = automq("rescue", *data(running.directory), "--replace-head")
    wal = running.directory / "data/wal/wal.bin"
    assert (ended.code, ended.err) == (1, f"automq: a broker uses the WAL {wal}: stop it first\n")


def test_rescue_of_a_damaged_head_replaces_it_when_told(left: Path) -> None:
    head = left / "data/bucket/meta/head"
    head.write_bytes(b"rubbish")
    assert "cannot be read (the object meta/head is no head object)" in automq("rescue", *data(left)).err
    assert automq("rescue", *data(left), "--replace-head").code == 0
    assert restarted(left) == ALL


def test_rescue_of_nothing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    ended = automq("rescue", *data(tmp_path))
    assert (ended.code, ended.err) == (
        1,
        "automq: nothing here tells which cluster it was: no head, no object; give --cluster-id\n",
    )


def test_wal_inspect_shows_records_beside_a_running_broker_and_after_a_kill(running: BrokerProcess) -> None:
    wal = running.directory / "data/wal/wal.bin"
    ended = automq("wal", "inspect", wal, "--json", "--records")
    assert ended.code == 0
    assert (ended.json["is_in_use"], ended.json["damage"]) == (True, None)
    (stream,) = ended.json["streams"]
    assert (stream["first_offset"], stream["end_offset"], stream["gaps"]) == (0, 300, 0)
    assert ended.json["record_list"][-1]["end_offset"] == 300
    assert "a running broker holds the lock" in automq("wal", "inspect", wal).out


def test_wal_inspect_names_damage_exactly_and_ends_with_1(tmp_path: Path) -> None:
    broker = started(tmp_path)
    for number in range(3):
        produce(broker, "orders", [f"record {number}"])
    broker.kill()
    wal = tmp_path / "data/wal/wal.bin"
    (first, second, _) = automq("wal", "inspect", wal, "--json", "--records").json["record_list"]
    with wal.open("r+b") as file:
        file.seek((1 << 20) + second["lsn"] + 60)
        file.write(b"\xff\xff\xff")
    ended = automq("wal", "inspect", wal, "--json")
    assert ended.code == 1
    assert ended.json["damage"]["ranges"] == [
        {"stream": first["stream"], "start_offset": 1, "end_offset": 2},
    ]
    assert "DAMAGED: the WAL is damaged at LSN" in automq("wal", "inspect", wal).err


def test_wal_inspect_finds_the_log_of_a_data_directory(running: BrokerProcess) -> None:
    directory = running.directory / "data"
    by_path = automq("wal", "inspect", directory / "wal/wal.bin", "--json").json
    for where in (["--data", directory], ["--data", "/nowhere", "--wal", directory / "wal/wal.bin"]):
        assert (
            automq("wal", "inspect", *where, "--json").json["newest"]["volume_uuid"] == by_path["newest"]["volume_uuid"]
        )
    missing = automq("wal", "inspect", "--data", running.directory)
    assert missing[::2] == (1, f"automq: WAL {running.directory}/wal/wal.bin: No such file or directory\n")


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_wal_inspect_asks_which_of_several_brokers_is_meant(tmp_path: Path, kind: str) -> None:
    logs = "s3" if kind == "s3" else str(tmp_path / "elsewhere.bin")
    layout = lay_out(tmp_path / "up", brokers=2, bucket=None, port=21092, settings=(f"2:s3.wal.path={logs}",))
    layout.broker(2).mkdir(exist_ok=True)
    arguments = ["--config", layout.properties_file(2), "--set", f"s3.wal.capacity={64 << 20}"]
    serving = subprocess.Popen(
        [sys.executable, "-m", "automq_broker", "serve", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: speaks_kafka(layout.ports[2].kafka), 30, "the broker serves")
        ended = automq("wal", "inspect", "--data", layout.data, "--node", 2, "--json")
        assert (ended.code, ended.json["newest"]["node_id"]) == (0, 2)
        unclear = automq("wal", "inspect", "--data", layout.data)
        assert (unclear.code, "name one with --node" in unclear.err) == (1, True)
    finally:
        serving.kill()
        serving.wait()


def test_wal_inspect_of_what_is_no_wal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes(4 << 20))
    assert automq("wal", "inspect", tmp_path / "zeros")[::2] == (1, "automq: this WAL was never formatted\n")
    missing = tmp_path / "missing"
    assert automq("wal", "inspect", missing)[::2] == (1, f"automq: WAL {missing}: No such file or directory\n")


def test_object_inspect_shows_index_checkpoints_and_batches_by_key_number_and_path(left: Path) -> None:
    first = data_objects(left)[0]
    key = f"data/{first.parent.name}/{first.name}"
    by_key = automq("object", "inspect", key, *data(left), "--batches", "--json")
    by_number = automq("object", "inspect", int(first.name), *data(left), "--batches", "--json")
    by_path = automq("object", "inspect", first, "--batches", "--json")
    assert [each.code for each in (by_key, by_number, by_path)] == [0, 0, 0]
    assert by_key.json == by_number.json == {**by_path.json, "name": key}
    piece = by_key.json["slices"][0]
    assert (piece["topic"], piece["partition"], piece["first_offset"], piece["end_offset"]) == ("orders", 0, 0, 100)
    assert piece["checkpoint"]["producers"] == 1
    assert sum(batch["records"] for block in piece["blocks"] for batch in block["batches"]) == 100
    assert "1 producers at offset 100" in automq("object", "inspect", first).out


def test_object_inspect_finds_damage_and_names_what_is_no_object(left: Path) -> None:
    first = data_objects(left)[0]
    first.write_bytes(b"\xff" + first.read_bytes()[1:])
    ended = automq("object", "inspect", first, "--json")
    assert (ended.code, len(ended.json["damage"])) == (1, 1)
    ended = automq("object", "inspect", "data/nothing", *data(left))
    assert (ended.code, ended.err) == (1, "automq: neither a file nor an object of the bucket: data/nothing\n")


def test_meta_dump_streams_json_and_filters_by_topic_and_stream(running: BrokerProcess) -> None:
    directory = running.directory
    produce(running, "payments", ["one"])
    rows = [json.loads(line) for line in automq("meta", "dump", *data(directory), "--json").out.splitlines()]
    assert {row["kind"] for row in rows} >= {"cluster", "node", "topic", "stream"}
    ended = automq("meta", "dump", "streams", "--topic", "payments", *data(directory), "--json")
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [(row["topic"], row["partition"]) for row in found] == [("payments", 0), ("payments", 1)]
    ended = automq("meta", "dump", "streams", "--stream", found[1]["stream"], *data(directory), "--json")
    assert ended.json == found[1]
    ended = automq("meta", "dump", "--topic", "nope", *data(directory))
    assert (ended.code, ended.err) == (1, "automq: no topic 'nope' in the metadata\n")
    assert automq("meta", "dump", "rubbish", *data(directory)).code == 2
