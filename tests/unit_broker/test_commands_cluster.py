"""`automq cluster` as a person or a script uses it: what it prints, what it does, how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from automq_broker.cli import OK, REFUSED, run
from automq_broker.commands.cluster_options import DEGRADED
from automq_broker.contract.local import CLUSTER_FILE, LocalCluster
from automq_broker.kernel.ids import NodeId, ObjectId
from automq_broker.lake.keys import data_key
from automq_broker.meta.commands import AllocateObjectIds, RetireBlock
from automq_broker.meta.rows import NodeStatus
from twins.admin_api import TOKEN, serving
from twins.memory_bucket import MemoryStore
from twins.meta_world import MetaWorld


class Ended(NamedTuple):
    """What one run of the command left."""

    code: int
    out: str
    err: str


ORPHANS = 30


class Shell:
    """Runs `automq cluster ...` against the API that the data directory names."""

    def __init__(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = data
        self._capsys = capsys

    def cluster(self, *words: str) -> Ended:
        """Exit code and output."""
        code = run(["cluster", *words, "--data", str(self.data)])
        return Ended(code, *self._capsys.readouterr())


@pytest.fixture
def world() -> MetaWorld:
    world = MetaWorld()
    for node_id, rack in ((1, "a"), (2, "b")):
        world.start(node_id, rack=rack)
    for partition in world.topic("orders", 4).partitions:
        world.open(partition.stream_id)
    return world


@pytest.fixture
def bucket(world: MetaWorld) -> MemoryStore:
    """Thirty uploads of a retired block that nobody ever committed, and one key of other hands."""
    block = world.do(AllocateObjectIds(node_id=NodeId(1), broker_epoch=world.epochs[1], count=ORPHANS, now_ms=0))
    world.do(RetireBlock(first=block.first))
    store = MemoryStore()
    for object_id in range(block.first, block.end):
        store.plant(data_key(ObjectId(object_id)), b"x" * 1000)
    store.plant("data/00/readme.txt", b"mine")
    return store


@pytest.fixture
def shell(world: MetaWorld, bucket: MemoryStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    token = tmp_path / "admin.token"
    token.write_text(TOKEN)
    with serving(world, token_file=token, bucket=bucket) as url:
        dead = "http://127.0.0.1:1"
        local = LocalCluster(admin=(dead, url), bootstrap="127.0.0.1:9092", token_file=str(token))
        (tmp_path / CLUSTER_FILE).write_text(local.model_dump_json())
        yield Shell(tmp_path, capsys)


def test_status_says_how_things_are_and_asks_the_next_broker_where_one_is_down(shell: Shell) -> None:
    ended = shell.cluster("status")
    assert ended.code == OK
    assert "2 ACTIVE" in ended.out
    assert "4, 4 served, 0 on their way" in ended.out


def test_status_ends_with_its_own_code_while_anything_is_on_its_way(shell: Shell, world: MetaWorld) -> None:
    shell.cluster("drain", "1")
    assert shell.cluster("status").code == DEGRADED


def test_brokers_and_moves_are_tables_for_people_and_json_for_machines(shell: Shell) -> None:
    shell.cluster("drain", "1")
    assert "ACTIVE (draining)" in shell.cluster("brokers").out
    assert "broker 1 is to upload and close it" in " ".join(shell.cluster("moves").out.split())
    assert [each["partitions_assigned"] for each in json.loads(shell.cluster("brokers", "--json").out)["brokers"]] == [
        0,
        4,
    ]
    assert json.loads(shell.cluster("moves", "--json").out)["total"] == 2


def test_a_drain_says_where_the_partitions_go_and_can_be_cancelled(shell: Shell) -> None:
    assert "2 to broker 2" in shell.cluster("drain", "1").out
    assert "may get partitions again" in " ".join(shell.cluster("drain", "1", "--cancel").out.split())
    assert "draining" not in shell.cluster("brokers").out
    assert "drain" in shell.cluster("decisions", "--json").out


def test_a_fence_uses_the_epoch_at_which_the_broker_is(shell: Shell, world: MetaWorld) -> None:
    assert shell.cluster("fence", "2").code == OK
    assert world.state.nodes[NodeId(2)].status is NodeStatus.FENCED


def test_a_rebalance_is_asked_of_the_controller_and_its_refusal_is_told(shell: Shell) -> None:
    ended = shell.cluster("rebalance", "--dry-run")
    assert (ended.code, ended.err) == (REFUSED, "automq: this broker is alone: there is nothing to balance\n")


def test_a_controller_that_was_not_named_is_found_at_its_own_host_behind_the_port_of_whoever_was(
    world: MetaWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "admin.token"
    token.write_text(TOKEN)
    with serving(world, token_file=token, node_id=2, controller_host="127.0.0.2") as asked:
        words = ["cluster", "rebalance", "--dry-run", "--admin", asked, "--token-file", str(token)]
        assert run(words) == REFUSED
        assert "that is broker 1; give its address with --admin" in capsys.readouterr().err
        port = int(asked.rpartition(":")[2])
        with serving(world, token_file=token, controller_host="127.0.0.2", port=port):
            assert run(words) == REFUSED
            assert capsys.readouterr().err == "automq: this broker is alone: there is nothing to balance\n"


def test_a_lost_log_is_given_up_only_after_its_cost_was_shown_and_agreed_to(shell: Shell, world: MetaWorld) -> None:
    shell.cluster("fence", "2")
    asked = shell.cluster("accept-wal-loss", "2")
    assert asked.code != OK
    assert "orders-" in asked.err
    assert world.state.nodes[NodeId(2)].status is NodeStatus.FENCED
    agreed = shell.cluster("accept-wal-loss", "2", "--yes", "--json")
    assert [each["committed_end"] for each in json.loads(agreed.out)["lost"]] == [0, 0]
    assert "given up" in shell.cluster("brokers").out
    assert world.state.open_streams_of(NodeId(2)) == []


def test_many_orphans_go_only_after_their_number_and_size_were_shown_and_agreed_to(
    shell: Shell, bucket: MemoryStore
) -> None:
    for words in (("--dry-run",), ()):
        ended = shell.cluster("sweep-orphans", *words)
        assert "30 orphans of 29.3 KiB lie beside 0 live objects." in " ".join((ended.out + ended.err).split())
        assert (ended.code == OK) == bool(words), "without an answer to the question nothing is agreed to"
        assert len(bucket.keys("data/")) == ORPHANS + 1
    assert "30 orphans deleted." in shell.cluster("sweep-orphans", "--yes").out
    assert bucket.keys("data/") == ["data/00/readme.txt"]
    assert json.loads(shell.cluster("sweep-orphans", "--yes", "--json").out)["orphans"] == 0
    assert "30 orphans of 30000 bytes deleted" in shell.cluster("decisions", "--json").out


def test_nothing_to_recover_is_said_in_words(shell: Shell) -> None:
    assert "Nothing is being recovered" in shell.cluster("recoveries").out


def test_refusals_are_one_line_and_exit_code_one(shell: Shell) -> None:
    ended = shell.cluster("drain", "9")
    assert (ended.code, ended.out) == (REFUSED, "")
    assert ended.err == "automq: no broker 9 is registered\n"


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cluster", "status", "--admin", "http://127.0.0.1:1", "--data", str(tmp_path)]) == REFUSED
    assert "no broker answers: http://127.0.0.1:1" in capsys.readouterr().err
