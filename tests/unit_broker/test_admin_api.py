"""The admin API as its callers meet it: over a socket, with and without a token, on clusters in some condition."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from automq_broker.contract import admin
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.commands import FenceNode, NodeStopped
from automq_broker.meta.rows import NodeStatus
from twins.admin_api import TOKEN, FixedClock, serving
from twins.meta_world import MetaWorld


class Caller:
    """Asks like curl would; `token` None sends no Authorization header."""

    def __init__(self, url: str, token: str | None) -> None:
        self._address = urlsplit(url).netloc
        self._token = token

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body, headers."""
        connection = http.client.HTTPConnection(self._address, timeout=5)
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        content = body if isinstance(body, bytes | None) else json.dumps(body)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read()), {k.lower(): v for k, v in response.getheaders()}
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The body of a success."""
        status, body, _ = self.ask("GET", path)
        assert status == 200, body
        return body

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and body."""
        status, answer, _ = self.ask("POST", path, body)
        return status, answer


@pytest.fixture
def world() -> MetaWorld:
    """Brokers 1, 2, 3 in zones a, b, a; topic orders with six open partitions, two on each."""
    world = MetaWorld()
    for node_id, rack in ((1, "a"), (2, "b"), (3, "a")):
        world.start(node_id, rack=rack)
    for partition in world.topic("orders", 6).partitions:
        world.open(partition.stream_id)
    return world


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def caller(world: MetaWorld, token_file: Path) -> Iterator[Caller]:
    with serving(world, token_file=token_file) as url:
        yield Caller(url, TOKEN)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/v1/nothing", 404, None),
        ("POST", "/v1/", 404, None),
        ("DELETE", "/v1/brokers", 405, "GET"),
        ("GET", "/v1/drain", 405, "POST"),
    ],
)
def test_what_is_not_in_the_api_is_refused_as_a_problem_too(
    caller: Caller, method: str, path: str, status: int, allow: str | None
) -> None:
    answered, body, headers = caller.ask(method, path)
    assert (answered, headers["content-type"], headers.get("allow")) == (status, admin.PROBLEM_TYPE, allow)
    assert admin.Problem.model_validate(body).status == status


def test_a_web_page_is_refused_as_a_problem_too(caller: Caller) -> None:
    connection = http.client.HTTPConnection(caller._address, timeout=5)
    connection.request("POST", "/v1/drain", b"{}", {"Origin": "http://evil", "Authorization": f"Bearer {TOKEN}"})
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Type")) == (403, admin.PROBLEM_TYPE)
    connection.close()


def test_the_cluster_is_told_in_numbers(caller: Caller) -> None:
    answer = admin.Cluster.model_validate(caller.get("/v1/cluster"))
    assert answer.brokers == {admin.BrokerStatus.ACTIVE: 3}
    assert (answer.topics, answer.partitions, answer.partitions_open, answer.partitions_moving) == (1, 6, 6, 0)
    assert answer.controller.node_id == 1


def test_partitions_of_a_broker_that_is_away_are_open_and_not_served(caller: Caller, world: MetaWorld) -> None:
    world.do(FenceNode(node_id=NodeId(2), broker_epoch=world.epochs[2]))
    answer = admin.Cluster.model_validate(caller.get("/v1/cluster"))
    assert (answer.partitions_open, answer.partitions_served) == (6, 4)


def test_every_broker_shows_its_epoch_volume_and_share(caller: Caller, world: MetaWorld) -> None:
    brokers = admin.Brokers.model_validate(caller.get("/v1/brokers")).brokers
    assert [(each.node_id, each.rack, each.broker_epoch) for each in brokers] == [
        (1, "a", world.epochs[1]),
        (2, "b", world.epochs[2]),
        (3, "a", world.epochs[3]),
    ]
    assert [each.partitions_open for each in brokers] == [2, 2, 2]


def test_partitions_come_in_pages_that_join_without_gap_or_repeat(caller: Caller, world: MetaWorld) -> None:
    world.topic("audit", 3)
    seen, after = [], ""
    while True:
        page = caller.get(f"/v1/partitions?limit=4&after={after}")
        seen += [(row["topic"], row["partition"]) for row in page["partitions"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == [("audit", i) for i in range(3)] + [("orders", i) for i in range(6)]


def test_a_partition_that_is_not_where_it_is_to_be_is_a_move_with_a_reason(caller: Caller, world: MetaWorld) -> None:
    world.topic("audit", 1)
    moves = caller.get("/v1/moves")
    assert moves["total"] == 1
    assert moves["moves"][0]["stage"] == "OPENING"
    assert "is to open it" in moves["moves"][0]["reason"]


def test_a_drain_gives_the_partitions_to_the_emptiest_and_can_be_asked_again(caller: Caller, world: MetaWorld) -> None:
    status, first = caller.post("/v1/drain", {"node_id": 1})
    assert (status, first["moves"], first["partitions_left"]) == (200, 2, 2)
    assert "1 to broker 2, 1 to broker 3" in first["reason"]
    status, again = caller.post("/v1/drain", {"node_id": 1})
    assert (status, again["moves"], again["partitions_left"]) == (200, 0, 2)
    assert {row.owner for row in world.state.topic("orders").partitions} == {2, 3}
    assert next(each for each in caller.get("/v1/brokers")["brokers"] if each["node_id"] == 1)["is_cordoned"]


def test_a_drained_broker_gets_no_new_partitions_until_the_drain_is_cancelled(caller: Caller, world: MetaWorld) -> None:
    caller.post("/v1/drain", {"node_id": 1})
    assert {row.owner for row in world.topic("audit", 4).partitions} == {2, 3}
    assert caller.post("/v1/drain", {"node_id": 1, "is_cancelled": True})[0] == 200
    assert 1 in {row.owner for row in world.topic("later", 4).partitions}


def test_a_drain_is_refused_when_nobody_else_could_serve(caller: Caller, world: MetaWorld) -> None:
    caller.post("/v1/drain", {"node_id": 1})
    caller.post("/v1/drain", {"node_id": 2})
    status, answer = caller.post("/v1/drain", {"node_id": 3})
    assert status == 409
    assert "no other broker could serve them" in answer["detail"]
    assert not next(each for each in caller.get("/v1/brokers")["brokers"] if each["node_id"] == 3)["is_cordoned"]


def test_a_fence_holds_only_for_the_epoch_it_names(caller: Caller, world: MetaWorld) -> None:
    epoch = world.epochs[2]
    assert caller.post("/v1/fence", {"node_id": 2, "broker_epoch": epoch - 1})[0] == 409
    assert caller.post("/v1/fence", {"node_id": 2, "broker_epoch": epoch}) == (200, {"node_id": 2, "status": "FENCED"})
    assert caller.post("/v1/fence", {"node_id": 2, "broker_epoch": epoch})[0] == 200


def loss_of(world: MetaWorld, node_id: int) -> dict[str, Any]:
    node = world.state.nodes[NodeId(node_id)]
    return {
        "node_id": node_id,
        "broker_epoch": node.broker_epoch,
        "volume_uuid": str(node.volume.uuid),
        "volume_handle": node.volume.handle,
    }


def test_a_lost_log_is_given_up_with_the_offsets_behind_which_records_are_gone(
    caller: Caller, world: MetaWorld, caplog: pytest.LogCaptureFixture
) -> None:
    streams = [each.stream_id for each in world.state.open_streams_of(NodeId(2))]
    world.append(streams[1], 7)
    question = loss_of(world, 2)
    assert caller.post("/v1/accept-wal-loss", question)[0] == 409  # it serves
    world.do(FenceNode(node_id=NodeId(2), broker_epoch=world.epochs[2]))
    status, answer = caller.post("/v1/accept-wal-loss", question)
    partitions = [world.state.streams[each].partition for each in streams]
    expected = [
        {"topic": "orders", "partition": partition, "committed_end": end}
        for partition, end in zip(partitions, (0, 7), strict=True)
    ]
    assert (status, answer["lost"], answer["total"]) == (200, expected, 2)
    assert {record.lost_behind for record in caplog.records} == {  # type: ignore[attr-defined]
        f"orders-{partitions[0]} at 0",
        f"orders-{partitions[1]} at 7",
    }
    assert "2 partitions" in caller.get("/v1/decisions")["decisions"][0]["decision"]
    assert caller.post("/v1/accept-wal-loss", question) == (200, answer | {"lost": [], "total": 0})


def test_the_same_rescue_gets_the_same_epoch_and_another_one_is_refused(caller: Caller, world: MetaWorld) -> None:
    question = {"node_id": 2, "broker_epoch": world.epochs[2], "rescue": str(UUID(int=5))}
    status, granted = caller.post("/v1/rescue", question)
    assert status == 200
    assert caller.post("/v1/rescue", question) == (200, granted)
    assert caller.post("/v1/rescue", question | {"rescue": str(UUID(int=6))})[0] == 409
    assert world.state.nodes[NodeId(2)].broker_epoch == granted["broker_epoch"] > world.epochs[2]
    recovery = caller.get("/v1/recoveries")["recoveries"][0]
    assert (recovery["node_id"], recovery["partitions_left"], recovery["rescue"]) == (2, 2, str(UUID(int=5)))


def test_an_adoption_is_done_only_when_no_partition_is_open_any_more(caller: Caller, world: MetaWorld) -> None:
    question = {"node_id": 2, "broker_epoch": world.epochs[2], "rescue": str(UUID(int=5))}
    done = {"node_id": 2, "broker_epoch": caller.post("/v1/rescue", question)[1]["broker_epoch"]}
    status, refusal = caller.post("/v1/adopt-done", done)
    assert status == 409
    assert "still has open streams" in refusal["detail"]
    world.epochs[2] = done["broker_epoch"]
    for stream in world.state.open_streams_of(NodeId(2)):
        world.close(stream.stream_id)
    assert caller.post("/v1/adopt-done", done)[0] == 200
    assert caller.post("/v1/adopt-done", done)[0] == 200
    assert world.state.nodes[NodeId(2)].status is NodeStatus.STOPPED


def test_an_announced_stop_may_be_repeated_and_is_taken_back(caller: Caller, world: MetaWorld) -> None:
    now_ms = FixedClock().now_ms()
    assert caller.post("/v1/stop-cluster", {}) == (200, {"until_ms": now_ms + 60_000})
    assert caller.post("/v1/stop-cluster", {"seconds": 90}) == (200, {"until_ms": now_ms + 90_000})
    assert caller.post("/v1/stop-cluster", {"seconds": 90})[0] == 200
    assert world.state.stops_until_ms == now_ms + 90_000
    assert caller.post("/v1/stop-cluster", {"seconds": 0}) == (200, {"until_ms": 0})
    assert world.state.stops_until_ms == 0
    assert caller.post("/v1/stop-cluster", {"seconds": 3601})[0] == 400


def test_a_broker_is_forgotten_once_it_has_stopped_and_nothing_depends_on_it(caller: Caller, world: MetaWorld) -> None:
    status, refusal = caller.post("/v1/forget", {"node_id": 3})
    assert status == 409
    assert "ACTIVE" in refusal["detail"]
    for stream in world.state.open_streams_of(NodeId(3)):
        world.close(stream.stream_id)
    world.do(NodeStopped(node_id=NodeId(3), broker_epoch=world.epochs[3]))
    assert caller.post("/v1/forget", {"node_id": 3}) == (200, {"node_id": 3})
    assert [each["node_id"] for each in caller.get("/v1/brokers")["brokers"]] == [1, 2]
    assert caller.post("/v1/forget", {"node_id": 3})[0] == 404


def test_decisions_are_told_newest_first_with_their_reasons(caller: Caller, world: MetaWorld) -> None:
    caller.post("/v1/drain", {"node_id": 1})
    caller.post("/v1/fence", {"node_id": 2, "broker_epoch": world.epochs[2]})
    decisions = caller.get("/v1/decisions")["decisions"]
    assert [each["kind"] for each in decisions] == ["fence", "drain"]
    assert all(each["reason"] for each in decisions)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/drain", {"node_id": 99}, 404, "no broker 99"),
        ("/v1/drain", {"node_id": -1}, 400, "node_id"),
        ("/v1/drain", {"node_id": 1, "force": True}, 400, "force"),
        ("/v1/drain", b"{", 400, "JSON"),
        ("/v1/drain", b"", 400, "body"),
        ("/v1/fence", {"node_id": 1}, 400, "broker_epoch"),
        ("/v1/rescue", {"node_id": 1, "broker_epoch": 1, "rescue": "me"}, 400, "rescue"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong_with_it(
    caller: Caller, path: str, body: Any, status: int, words: str
) -> None:
    found, answer, headers = caller.ask("POST", path, body)
    assert found == answer["status"] == status
    assert words in answer["detail"]
    assert headers["content-type"] == admin.PROBLEM_TYPE


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after=orders", "after=a/b", "page=2"])
def test_a_wrong_query_is_refused(caller: Caller, query: str) -> None:
    assert caller.ask("GET", f"/v1/partitions?{query}")[0] == 400


def test_without_the_token_nothing_is_told_or_done(world: MetaWorld, token_file: Path) -> None:
    with serving(world, token_file=token_file) as url:
        for caller in (Caller(url, None), Caller(url, TOKEN + "x"), Caller(url, TOKEN[:-1])):
            status, answer, headers = caller.ask("GET", "/v1/cluster")
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="automq"')
            assert "token" in answer["detail"]
            assert caller.post("/v1/drain", {"node_id": 1})[0] == 401
        assert Caller(url, None).get("/v1/openapi.json")["openapi"] == "3.1.0"


def test_a_replaced_token_counts_at_once_and_an_emptied_file_admits_nobody(world: MetaWorld, token_file: Path) -> None:
    with serving(world, token_file=token_file) as url:
        token_file.write_text("another-token-of-some-length")
        assert Caller(url, TOKEN).ask("GET", "/v1/cluster")[0] == 401
        assert Caller(url, "another-token-of-some-length").ask("GET", "/v1/cluster")[0] == 200
        token_file.write_text("")
        assert Caller(url, "another-token-of-some-length").ask("GET", "/v1/cluster")[0] == 401


def test_where_no_token_is_configured_everything_can_be_read_and_nothing_changed(world: MetaWorld) -> None:
    with serving(world) as url:
        assert Caller(url, None).get("/v1/brokers")["brokers"]
        status, answer = Caller(url, None).post("/v1/drain", {"node_id": 1})
        assert status == 403
        assert "automq.admin.token.file" in answer["detail"]


def test_a_broker_that_starts_asks_callers_to_come_again(token_file: Path) -> None:
    with serving(None, token_file=token_file) as url:
        status, _, headers = Caller(url, TOKEN).ask("GET", "/v1/cluster")
        assert (status, headers["retry-after"]) == (503, "1")


def test_settings_of_all_brokers_change_together_or_not_at_all(caller: Caller, world: MetaWorld) -> None:
    assert caller.get("/v1/cluster")["configs"] == {}
    wanted = {"log.retention.ms": "3600000", "automq.log.level": "debug"}
    assert caller.post("/v1/configs", {"set": wanted}) == (200, {"configs": wanted})
    commits = len(world.records)
    assert caller.post("/v1/configs", {"set": wanted, "unset": ["compression.type"]}) == (200, {"configs": wanted})
    assert len(world.records) == commits, "the second one changes nothing"
    for value, words in (
        ({"log.retention.ms": "long"}, "log.retention.ms"),
        ({"num.partitions": "3"}, "num.partitions cannot change at run time"),
        ({"no.such.key": "3"}, "no.such.key"),
    ):
        status, problem = caller.post("/v1/configs", {"set": {"compression.type": "zstd"} | value})
        assert (status, caller.get("/v1/cluster")["configs"]) == (409, wanted)
        assert words in problem["detail"]
    assert caller.post("/v1/configs", {"unset": ["log.retention.ms"]}) == (
        200,
        {"configs": {"automq.log.level": "debug"}},
    )
    assert "log.retention.ms unset" in caller.get("/v1/decisions")["decisions"][0]["decision"]
