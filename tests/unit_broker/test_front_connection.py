"""One connection on a real socket, on both loops: close-or-answer rules, order, limits."""

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from automq_broker.front.connection import Connection
from automq_broker.front.server import versions_of
from automq_broker.front.shared import Shared
from automq_broker.front.values import FETCH, Limits
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import CloseConnection
from automq_broker.kernel.later import Later
from automq_broker.wire.apis.k00_produce import (
    PartitionProduceData,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from automq_broker.wire.apis.k01_fetch import FetchRequest, FetchResponse
from automq_broker.wire.apis.k03_metadata import MetadataResponse
from automq_broker.wire.apis.k12_heartbeat import HeartbeatResponse
from automq_broker.wire.apis.k18_api_versions import ApiVersionsResponse
from automq_broker.wire.frames import encode_request
from automq_broker.wire.index import request_class
from twins.front_client import SERVED, CountingMeters, HandClock, answer_versions, front

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one of the two loops."""
    return asyncio.run if request.param == "asyncio" else uvloop.run


def _produce(size: int, acks: int = -1) -> ProduceRequest:
    data = PartitionProduceData(index=0, records=b"r" * size)
    return ProduceRequest(acks=acks, timeout_ms=1000, topic_data=[TopicProduceData(name="t", partition_data=[data])])


class Gate:
    """A handler whose answers come when the test says; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Any]] = []
        self.futures: list[asyncio.Future[Any]] = []

    def __call__(self, header: Any, request: Any, view: Any) -> Any:
        self.asked.append((header.correlation_id, request))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


def test_pipelined_requests_are_answered_in_order(run: Run) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            sent = [client.send_versions() for _ in range(50)]
            assert [(await client.answer())[0] for _ in sent] == sent
            assert [key for key, _, _ in f.meters.done] == [18] * 50

    run(scenario())


def test_one_answer_that_cannot_be_sent_leaves_the_others_of_its_turn_whole(run: Run) -> None:
    async def scenario() -> None:
        answers: list[Later] = []

        def serve(header: Any, request: Any, view: Any) -> Later:
            answers.append(Later())
            return answers[-1]

        async with front(serve) as f:
            raised: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))
            clients = []
            for _ in range(3):
                clients.append(await f.client())
                clients[-1].send(12, 0)
                await f.until(lambda: len(answers) == len(clients))
            for later, error_code in zip(answers, (0, "no number", 2), strict=True):
                later.resolve(HeartbeatResponse(error_code=error_code))  # type: ignore[arg-type]
            assert (await clients[0].answer(12))[1].error_code == 0
            assert (await clients[2].answer(12))[1].error_code == 2
            assert await clients[1].is_closed()
            assert len(raised) == 1

    run(scenario())


def test_answers_wait_for_older_ones(run: Run) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with front(gate) as f:
            client = await f.client()
            sent = [client.send(12, 0) for _ in range(3)]
            await f.until(lambda: len(gate.futures) == 3)
            gate.futures[2].set_result(HeartbeatResponse(error_code=2))
            gate.futures[1].set_result(HeartbeatResponse(error_code=1))
            await asyncio.sleep(0.02)
            assert not f.meters.done
            gate.futures[0].set_result(HeartbeatResponse(error_code=0))
            got = [await client.answer(12, 0) for _ in sent]
            assert [(c, m.error_code) for c, m in got] == [(sent[0], 0), (sent[1], 1), (sent[2], 2)]

    run(scenario())


def test_a_coroutine_may_answer(run: Run) -> None:
    async def answer(header: Any, request: Any, view: Any) -> HeartbeatResponse:
        await asyncio.sleep(0.001 if header.correlation_id == 1 else 0)
        return HeartbeatResponse(error_code=header.correlation_id)

    async def scenario() -> None:
        async with front(answer) as f:
            client = await f.client()
            client.send(12, 0)
            client.send(12, 0)
            assert [(await client.answer(12, 0))[1].error_code for _ in range(2)] == [1, 2]

    run(scenario())


def test_a_request_in_single_bytes_arrives(run: Run) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            from automq_broker.wire.apis.k18_api_versions import ApiVersionsRequest
            from automq_broker.wire.frames import encode_request

            frame = encode_request(18, 0, 7, "c", ApiVersionsRequest())
            for byte in frame + frame:
                client.send_bytes(bytes([byte]))
                await asyncio.sleep(0)
            assert [(await client.answer())[0] for _ in range(2)] == [7, 7]

    run(scenario())


@pytest.mark.parametrize("size", [1, 60_000, 65_536, 200_000, 3_000_000])
def test_requests_of_every_size_arrive_whole(run: Run, size: int) -> None:
    def handler(header: Any, request: Any, view: Any) -> Any:
        if header.api_key == 18:
            return ApiVersionsResponse()
        records = request.topic_data[0].partition_data[0].records
        assert bytes(records) == b"r" * size
        return ProduceResponse(throttle_time_ms=size)

    async def scenario() -> None:
        async with front(handler) as f:
            client = await f.client()
            for _ in range(3):
                client.send(0, 9, _produce(size))
                client.send_versions()
            for _ in range(3):
                assert (await client.answer(0, 9))[1].throttle_time_ms == size
                await client.answer()
            assert f.server.in_flight_bytes == 0

    run(scenario())


def test_views_of_a_request_stay_valid_as_long_as_they_are_held(run: Run) -> None:
    kept: list[memoryview] = []

    def handler(header: Any, request: Any, view: Any) -> ProduceResponse:
        kept.append(request.topic_data[0].partition_data[0].records)
        return ProduceResponse()

    async def scenario() -> None:
        async with front(handler) as f:
            client = await f.client()
            for size in (100, 300_000, 300_001, 300_002):
                client.send(0, 9, _produce(size))
                await client.answer(0, 9)
            assert [bytes(view) == b"r" * len(view) for view in kept] == [True] * 4

    run(scenario())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack(">i", 0), "bad frame length"),
        (struct.pack(">i", -1), "bad frame length"),
        (struct.pack(">i", 100 * 1024 * 1024 + 1), "bad frame length"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad frame length"),
        (struct.pack(">ihhi", 8, 18, 0, 1), "undecodable"),
        (struct.pack(">ihhih", 10, 99, 0, 1, -1), "unsupported"),
        (struct.pack(">ihhih", 10, -5, 0, 1, -1), "unsupported"),
        (struct.pack(">ihhih", 10, 3, 99, 1, -1), "unsupported"),
        (struct.pack(">ihhih", 10, 0, 2, 1, -1), "unsupported"),
        (struct.pack(">ihhih", 10, 3, 0, 1, -1), "undecodable"),
        (struct.pack(">ihhihi", 14, 3, 0, 1, -1, 1_000_000_000), "undecodable"),
    ],
)
def test_what_cannot_be_answered_closes_without_a_reply(run: Run, data: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            client.send_bytes(data)
            assert await client.is_closed()
            assert [r for _, r in f.meters.failed] == [reason]
            assert f.server.in_flight_bytes == 0

    run(scenario())


def test_what_came_before_a_bad_frame_is_still_answered(run: Run) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            client.send_versions()
            client.send_bytes(struct.pack(">i", -7))
            assert (await client.answer())[0] == 1
            assert await client.is_closed()

    run(scenario())


def test_a_newer_api_versions_gets_error_35_in_version_0(run: Run) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            client.send_bytes(struct.pack(">ihhih", 30, 18, 77, 5, 2) + b"id" + b"\x00" * 18)
            correlation, answer = await client.answer(18, 0)
            assert (correlation, answer.error_code) == (5, 35)
            assert [(row.api_key, row.max_version) for row in answer.api_keys] == [(18, 4)]
            client.send_versions()
            await client.answer()

    run(scenario())


def test_acks_0_gets_no_answer_and_the_next_request_does(run: Run) -> None:
    def handler(header: Any, request: Any, view: Any) -> Any:
        return None if header.api_key == 0 else ApiVersionsResponse()

    async def scenario() -> None:
        async with front(handler) as f:
            client = await f.client()
            client.send(0, 9, _produce(10, acks=0))
            correlation = client.send_versions()
            assert (await client.answer())[0] == correlation
            assert f.server.in_flight_bytes == 0

    run(scenario())


@pytest.mark.parametrize("is_late", [False, True])
def test_a_handler_may_close_the_connection(run: Run, is_late: bool) -> None:
    async def later() -> None:
        raise CloseConnection("acks=0 with an error")

    def handler(header: Any, request: Any, view: Any) -> Any:
        if is_late:
            return later()
        raise CloseConnection("acks=0 with an error")

    async def scenario() -> None:
        async with front(handler) as f:
            client = await f.client()
            client.send(0, 9, _produce(10, acks=0))
            assert await client.is_closed()
            assert f.meters.failed == [(0, "acks=0 with an error")]

    run(scenario())


@pytest.mark.parametrize("is_late", [False, True])
def test_a_failing_handler_costs_its_connection_only(run: Run, is_late: bool) -> None:
    async def later() -> None:
        raise ZeroDivisionError

    def handler(header: Any, request: Any, view: Any) -> Any:
        if header.api_key == 18:
            return ApiVersionsResponse()
        if is_late:
            return later()
        raise ZeroDivisionError

    async def scenario() -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        async with front(handler) as f:
            other, client = await f.client(), await f.client()
            client.send(12, 0)
            assert await client.is_closed()
            other.send_versions()
            await other.answer()
            assert [type(error) for error in reported] == [ZeroDivisionError]
            assert f.server.in_flight_bytes == 0

    run(scenario())


def test_reading_stops_at_the_limit_of_requests_in_flight(run: Run) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with front(gate, limits=Limits(in_flight_requests=4)) as f:
            client = await f.client()
            for _ in range(10):
                client.send(12, 0)
            await f.until(lambda: len(gate.asked) == 4)
            await asyncio.sleep(0.02)
            assert len(gate.asked) == 4
            assert f.server.connections()[0].blocked == ("in_flight",)
            for number in range(10):
                await f.until(lambda n=number: len(gate.futures) > n)
                gate.futures[number].set_result(HeartbeatResponse())
                await client.answer(12, 0)
            assert [correlation for correlation, _ in gate.asked] == list(range(1, 11))

    run(scenario())


def test_a_second_fetch_waits_for_the_first_and_keeps_its_place(run: Run) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with front(gate) as f:
            client = await f.client()
            client.send(FETCH, 12, FetchRequest())
            client.send(FETCH, 12, FetchRequest())
            client.send(12, 0)
            await f.until(lambda: gate.asked)
            await asyncio.sleep(0.02)
            assert len(gate.asked) == 1
            gate.futures[0].set_result(FetchResponse())
            await f.until(lambda: len(gate.asked) == 3)
            gate.futures[2].set_result(HeartbeatResponse())
            gate.futures[1].set_result(FetchResponse())
            assert [(await client.answer(k, v))[0] for k, v in ((1, 12), (1, 12), (12, 0))] == [1, 2, 3]

    run(scenario())


def test_a_slow_reader_is_not_read_either(run: Run) -> None:
    answer = MetadataResponse(cluster_id="x" * 30_000)
    count = 1000

    async def scenario() -> None:
        served = 0

        def handler(header: Any, request: Any, view: Any) -> MetadataResponse:
            nonlocal served
            served += 1
            return answer

        async with front(handler, limits=Limits(unsent_bytes=256 * 1024)) as f:
            client = await f.client()
            client.writer.transport.pause_reading()
            for _ in range(count):
                client.send(3, 8)
            await f.until(lambda: served > 0 and f.server.connections()[0].blocked)
            await asyncio.sleep(0.05)
            row = f.server.connections()[0]
            # What the kernel and the client's own buffer took, and not more than the limit and one turn on top.
            assert served < count
            assert row.unsent_bytes < 1024 * 1024
            client.writer.transport.resume_reading()
            for _ in range(count):
                await client.frame()
            assert f.server.connections()[0].blocked == ()

    run(scenario())


def test_a_full_budget_pauses_connections_and_fails_none(run: Run) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with front(gate, limits=Limits(in_flight_bytes=1024 * 1024)) as f:
            clients = [await f.client() for _ in range(6)]
            for client in clients:
                client.send(0, 9, _produce(250_000))
            await f.until(lambda: len(gate.asked) == 3)
            await f.until(lambda: f.server.waiting_for_memory == 3)
            small = await f.client()
            small.send(12, 0)
            await f.until(lambda: len(gate.asked) == 4)
            gate.futures[3].set_result(HeartbeatResponse())
            await small.answer(12, 0)
            done = 0
            while done < 7:
                for future in gate.futures:
                    if not future.done():
                        future.set_result(ProduceResponse())
                        done += 1
                await asyncio.sleep(0.005)
                if done == 6:
                    break
            for client in clients:
                await client.answer(0, 9)
            assert f.server.in_flight_bytes == 0
            assert not f.meters.failed

    run(scenario())


def test_one_frame_larger_than_the_budget_passes(run: Run) -> None:
    def handler(header: Any, request: Any, view: Any) -> ProduceResponse:
        return ProduceResponse()

    async def scenario() -> None:
        async with front(handler, limits=Limits(in_flight_bytes=256 * 1024)) as f:
            client = await f.client()
            client.send(0, 9, _produce(2_000_000))
            await client.answer(0, 9)
            assert f.server.in_flight_bytes == 0

    run(scenario())


def test_answers_for_a_dead_connection_are_swallowed_and_its_memory_comes_back(run: Run) -> None:
    async def scenario() -> None:
        gate = Gate()
        async with front(gate) as f:
            client = await f.client()
            for _ in range(3):
                client.send(0, 9, _produce(1000))
            await f.until(lambda: len(gate.asked) == 3)
            client.writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            client.writer.transport.abort()
            # Some answers come before the loss is noticed, some after.
            gate.futures[0].set_result(ProduceResponse())
            await f.until(lambda: f.server.connection_count == 0)
            assert f.server.in_flight_bytes > 0
            gate.futures[1].set_result(ProduceResponse())
            gate.futures[2].set_result(ProduceResponse())
            await f.until(lambda: f.server.in_flight_bytes == 0)

    run(scenario())


def test_a_fetch_without_a_reader_is_cancelled(run: Run) -> None:
    ended: list[str] = []

    async def wait(header: Any, request: Any, view: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("fetch")

    async def scenario() -> None:
        async with front(wait) as f:
            client = await f.client()
            client.send(FETCH, 12, FetchRequest())
            await f.until(lambda: f.server.connections() and f.server.connections()[0].in_flight)
            await client.close()
            await f.until(lambda: ended == ["fetch"])
            await f.until(lambda: f.server.in_flight_bytes == 0)

    run(scenario())


class _RecordingTransport:
    """Remembers what was written, in which pieces."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def writelines(self, segments: Any) -> None:
        self.pieces.extend(bytes(segment) for segment in segments)

    def set_write_buffer_limits(self, high: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False


def test_answers_of_one_turn_of_the_loop_leave_as_one_piece() -> None:
    class Registry:
        def opened(self, connection: Connection) -> None:
            connection.view.principal = "User:x"

        def lost(self, connection: Connection, reason: str) -> None:
            pass

    async def scenario() -> None:
        gate = Gate()
        shared = Shared(
            limits=Limits(),
            serve=gate,
            accepted=versions_of(SERVED),
            unsupported_api_versions=ApiVersionsResponse,
            meters=CountingMeters(),
            clock=HandClock(),
            registry=Registry(),
        )
        view = ConnectionView(connection_id=1, listener="A", client_host="h", client_port=1, is_tls=False, opened_at=0)
        connection, transport = Connection(shared, view), _RecordingTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        frames = b"".join(encode_request(12, 0, number, "c", request_class(12)()) for number in range(5))
        connection.get_buffer(-1)[: len(frames)] = frames
        connection.buffer_updated(len(frames))
        for future in gate.futures:
            future.set_result(HeartbeatResponse())
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(transport.pieces) == 1
        assert transport.pieces[0].count(b"\x00\x00\x00\x06\x00\x00\x00") == 5
        connection.connection_lost(None)

    asyncio.run(scenario())
