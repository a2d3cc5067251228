"""topic, produce, consume and group against a real broker: what a person without a JDK or kcat needs."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.world import Ended, automq, started

MISSING = "automq: this command needs confluent-kafka: pip install 'automq[clients]'\n"


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    broker = started(tmp_path_factory.mktemp("broker"), **{"group.min.session.timeout.ms": "1000"})
    yield broker.bootstrap
    broker.stop()


class Shell:
    """Commands against one broker."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def __call__(self, *arguments: object, text: str = "") -> Ended:
        return automq(*arguments, "--bootstrap-server", self.bootstrap, text=text)

    def rows(self, *arguments: object) -> list[Any]:
        ended = self(*arguments)
        assert ended.code == 0, ended.err
        return [json.loads(line) for line in ended.out.splitlines()]


@pytest.fixture
def shell(bootstrap: str) -> Shell:
    return Shell(bootstrap)


@pytest.fixture
def topic(shell: Shell) -> str:
    name = f"topic-{uuid.uuid4().hex[:8]}"
    assert shell("topic", "create", name, "--partitions", 2)[:2] == (0, f"created topic {name}\n")
    return name


def test_a_topic_is_created_once_described_grown_configured_and_deleted(shell: Shell, topic: str) -> None:
    ended = shell("topic", "create", topic)
    assert (ended.code, ended.err) == (1, f"automq: Topic '{topic}' already exists. (TOPIC_ALREADY_EXISTS)\n")
    assert shell("topic", "create", topic, "--if-not-exists").out == f"topic {topic} exists already\n"
    assert {"topic": topic, "partitions": 2} in shell("topic", "list", "--json").json
    assert shell("topic", "alter", topic, "--partitions", 3).code == 0
    ended = shell("topic", "alter", topic, "--partitions", 1)
    assert (ended.code, "INVALID_PARTITIONS" in ended.err) == (1, True)
    changed = shell("topic", "configs", topic, "--set", "retention.ms=5000", "--json").json
    assert {"name": "retention.ms", "value": "5000", "is_default": False} in changed
    (described,) = shell("topic", "describe", topic, "--json").json
    assert (len(described["partitions"]), described["configs"]) == (3, {"retention.ms": "5000"})
    assert shell("topic", "configs", topic, "--delete", "retention.ms").code == 0
    assert shell("topic", "describe", topic, "--json").json[0]["configs"] == {}
    ended = shell("topic", "configs", topic, "--set", "no.such=1")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    ended = shell("topic", "delete", topic)
    assert (ended.code, ended.err) == (1, f"automq: this would delete {topic} with all records: say --yes\n")
    assert shell("topic", "delete", topic, "--yes").out == f"deleted topic {topic}\n"
    ended = shell("topic", "describe", topic)
    assert (ended.code, ended.err) == (
        1,
        f"automq: no topic '{topic}'; `automq topic list` shows those there are\n",
    )


def test_lines_become_records_with_keys_and_headers_and_come_back(shell: Shell, topic: str) -> None:
    ended = shell(
        "produce", topic, "--key-separator", ":", "--header", "source=shell", "--partition", 1, text="a:1\nb:2:3\nc:\n"
    )
    assert (ended.code, ended.err.startswith("3 records, ")) == (0, True)
    rows = shell.rows("consume", topic, "--from-beginning", "--until-end", "--format", "json")
    assert [(row["partition"], row["offset"], row["key"], row["value"]) for row in rows] == [
        (1, 0, "a", "1"),
        (1, 1, "b", "2:3"),
        (1, 2, "c", ""),
    ]
    assert all(row["headers"] == [{"name": "source", "value": "shell"}] for row in rows)
    text = shell("consume", topic, "--partition", 1, "--offset", 1, "--max-messages", 1, "--with", "offset,key,headers")
    assert text.out == "1\tb\tsource=shell\t2:3\n"
    ended = shell("produce", topic, "--key-separator", ":", text="no key here\n")
    assert (ended.code, ended.err.splitlines()[-1]) == (1, "automq: line 1 has no key: ':' does not stand in it")


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_file_is_sent_whole_with_every_compression(
    shell: Shell, topic: str, tmp_path: Path, compression: str
) -> None:
    file = tmp_path / "lines"
    file.write_text("".join(f"line {number}\n" for number in range(5000)))
    ended = shell("produce", topic, "--file", file, "--partition", 0, "--compression", compression, "--json")
    assert (ended.json["records"], ended.json["failed"]) == (5000, 0)
    ended = shell("consume", topic, "--from-beginning", "--until-end")
    assert ended.out == file.read_text()


def test_what_a_broker_refuses_is_counted_and_ends_with_1(shell: Shell, topic: str) -> None:
    shell("topic", "configs", topic, "--set", "max.message.bytes=100")
    ended = shell("produce", topic, "--acks", "1", text="x" * 1000 + "\n")
    assert ended.code == 1
    assert "automq: 1 records were not acknowledged: " in ended.err
    assert "MSG_SIZE_TOO_LARGE" in ended.err


def test_a_group_goes_on_where_it_was_and_its_offsets_can_be_moved(shell: Shell, topic: str) -> None:
    group = f"group-{topic}"
    shell("produce", topic, "--partition", 0, text="".join(f"{n}\n" for n in range(10)))
    first = shell("consume", topic, "--group", group, "--from-beginning", "--max-messages", 4, "--timeout", 20)
    assert first.out.split() == ["0", "1", "2", "3"]
    described = shell("group", "describe", group, "--json").json
    assert [(row["partition"], row["offset"], row["lag"]) for row in described["partitions"]] == [(0, 4, 6)]
    again = shell("consume", topic, "--group", group, "--max-messages", 6, "--timeout", 20)
    assert again.out.split() == ["4", "5", "6", "7", "8", "9"]
    move = ("group", "reset-offsets", group, "--topic", topic, "--partition", 0, "--to", 2)
    plan = shell(*move, "--json").json
    assert (plan["is_done"], plan["partitions"][0]["before"], plan["partitions"][0]["after"]) == (False, 10, 2)
    assert shell("group", "describe", group, "--json").json["partitions"][0]["offset"] == 10
    assert shell(*move, "--execute").out.endswith("Done.\n")
    assert shell("group", "describe", group, "--json").json["partitions"][0]["lag"] == 8
    assert {"group": group, "state": "EMPTY"} in shell("group", "list", "--json").json
    assert shell("group", "delete", group, "--yes").out == f"deleted group {group}\n"
    ended = shell("group", "describe", group)
    assert (ended.code, ended.err) == (
        1,
        f"automq: no group '{group}'; `automq group list` shows those there are\n",
    )


def test_too_few_records_in_time_is_exit_code_1(shell: Shell, topic: str) -> None:
    ended = shell("consume", topic, "--from-beginning", "--max-messages", 3, "--timeout", 1)
    assert (ended.code, ended.err) == (1, "automq: 0 of 3 records came before nothing did for 1 s\n")


def _as_in_a_terminal() -> None:
    """A shell's background job ignores SIGINT, and its children inherit that: tests may run in one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_ends_a_member_quietly_and_commits_what_it_printed(shell: Shell, topic: str) -> None:
    group = f"group-{topic}"
    shell("produce", topic, "--partition", 0, text="one\ntwo\n")
    command = [sys.executable, "-m", "automq_broker", "consume", topic, "--group", group, "--from-beginning"]
    member = subprocess.Popen(
        [*command, "--bootstrap-server", shell.bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_as_in_a_terminal,  # noqa: PLW1509 - no other thread here holds a lock that it needs
    )
    assert member.stdout is not None
    assert [member.stdout.readline(), member.stdout.readline()] == [b"one\n", b"two\n"]
    member.send_signal(signal.SIGINT)
    out, err = member.communicate(timeout=20)
    assert (member.returncode, out, err.strip()) == (130, b"", b"")
    assert shell("group", "describe", group, "--json").json["partitions"][0]["lag"] == 0


def test_an_absent_broker_is_one_line(tmp_path: Path) -> None:
    ended = automq("topic", "list", "--bootstrap-server", "127.0.0.1:1")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("automq: no broker answers at 127.0.0.1:1 (")


def test_client_properties_are_read_and_wrong_ones_are_one_line(shell: Shell, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("client.id=reader\nkey.serializer=org.example.Any\n")
    assert shell("topic", "list", "--command-config", file).code == 0
    file.write_text("no.such.property=1\n")
    ended = shell("topic", "list", "--command-config", file)
    assert (ended.code, "no.such.property" in ended.err, ended.err.count("\n")) == (1, True, 1)
    ended = shell("topic", "list", "--command-config", tmp_path / "absent")
    assert (ended.code, ended.err.count("\n")) == (1, 1)


@pytest.mark.parametrize("arguments", [("topic", "list"), ("produce", "t"), ("consume", "t"), ("group", "list")])
def test_without_the_client_library_one_line_names_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "confluent_kafka.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    ended = automq(*arguments)
    assert (ended.code, ended.out, ended.err) == (1, "", MISSING)


@pytest.mark.parametrize(
    "arguments",
    [
        ("consume", "t", "--offset", "1"),
        ("consume", "t", "--group", "g", "--partition", "1"),
        ("consume", "t", "--with", "colour"),
        ("produce", "t", "--header", "novalue"),
        ("topic", "create", "t", "--config", "novalue"),
        ("group", "reset-offsets", "g", "--topic", "t"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_needs_no_broker(arguments: tuple[str, ...]) -> None:
    ended = automq(*arguments, "--bootstrap-server", "127.0.0.1:1")
    assert (ended.code, "Usage: automq " in ended.err) == (2, True)
