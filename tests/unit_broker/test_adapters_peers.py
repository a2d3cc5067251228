"""The inter-broker listener over real sockets: proof both ways, small frames before it, deadlines, lost connections."""

import asyncio
import contextlib
from dataclasses import replace
from random import Random

import pytest
from automq_broker.adapters.clock import SystemClock
from automq_broker.adapters.peers import WirePeers
from automq_broker.cluster.proof import Secret
from automq_broker.desk.private_apis import ACCEPTED, BEFORE_PROOF, WAITING, MustProve, PrivateDesk
from automq_broker.front.server import Server
from automq_broker.front.values import Limits, Listener
from automq_broker.ports import PeerDenied, PeerUnavailable
from automq_broker.wire.apis.k20000_node_hello import NodeHelloRequest, NodeHelloResponse
from automq_broker.wire.apis.k20001_node_proof import NodeProofRequest, NodeProofResponse
from automq_broker.wire.apis.k20002_submit_commands import (
    CommandAnswer,
    SubmitCommandsRequest,
    SubmitCommandsResponse,
    SubmittedCommand,
)
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest, NodeHeartbeatResponse
from automq_broker.wire.apis.k20004_tail_metadata import TailMetadataRequest, TailMetadataResponse
from automq_broker.wire.frames import decode_request_header, decode_response, encode_request, encode_response

SECRET = Secret(b"a secret of the tests, long enough")
LIMITS = Limits(before_authentication=BEFORE_PROOF, waiting=WAITING, cancelled_when_lost=WAITING)


class Echo:
    """A service whose answers say what it was asked; `gate` holds the tail."""

    def __init__(self):
        self.gate = asyncio.Event()

    async def submit_commands(self, request):
        answers = [CommandAnswer(seq=each.number, payload=bytes(each.payload)) for each in request.commands]
        return SubmitCommandsResponse(controller_epoch=request.controller_epoch, answers=answers)

    async def heartbeat(self, request):
        return NodeHeartbeatResponse(controller_epoch=request.broker_epoch)

    async def tail(self, request):
        await self.gate.wait()
        return TailMetadataResponse(seq=request.after_seq)


@contextlib.asynccontextmanager
async def listening(*, secret=SECRET, cluster_id="cluster", limits=LIMITS):
    service = Echo()
    desk = PrivateDesk(service=service, secret=secret, node_id=2, cluster_id=lambda: cluster_id)
    server = Server(
        listeners=[Listener(name="INTERNAL", host="127.0.0.1", port=0)],
        serve=desk.serve,
        accepted=ACCEPTED,
        unsupported_api_versions=lambda: None,
        limits=limits,
        clock=SystemClock(),
        authenticator=MustProve(),
    )
    (bound,) = server.bind()
    await server.start()
    peers = WirePeers(node_id=1, cluster_id=lambda: "cluster", secret=SECRET, rng=Random(1))
    try:
        yield f"127.0.0.1:{bound.port}", peers, service, server
    finally:
        service.gate.set()
        await peers.close()
        await server.stop(0.5)


async def read_frame(reader):
    size = int.from_bytes(await reader.readexactly(4), "big")
    return memoryview(await reader.readexactly(size))


async def connect(endpoint):
    host, _, port = endpoint.rpartition(":")
    return await asyncio.open_connection(host, int(port))


def commands(count, size=10):
    return SubmitCommandsRequest(
        controller_epoch=4, commands=[SubmittedCommand(number=each, payload=bytes(size)) for each in range(count)]
    )


def test_peers_with_one_secret_ask_and_answer():
    async def scenario():
        async with listening() as (endpoint, peers, _, server):
            answer = await peers.call(endpoint, commands(3), 5)
            assert [each.seq for each in answer.answers] == [0, 1, 2]
            assert answer.controller_epoch == 4
            assert [row.principal for row in server.connections()] == ["Node:1"]

    asyncio.run(scenario())


def test_a_request_larger_than_a_stranger_may_send_goes_through_after_the_proof():
    async def scenario():
        async with listening() as (endpoint, peers, _, _):
            answer = await peers.call(endpoint, commands(2, size=2 << 20), 10)
            assert [len(each.payload) for each in answer.answers] == [2 << 20] * 2

    asyncio.run(scenario())


def test_a_question_that_is_held_does_not_hold_up_others():
    async def scenario():
        async with listening() as (endpoint, peers, service, _):
            held = asyncio.ensure_future(peers.call(endpoint, TailMetadataRequest(after_seq=5), 30))
            beats = [await peers.call(endpoint, NodeHeartbeatRequest(broker_epoch=each), 5) for each in range(20)]
            assert [each.controller_epoch for each in beats] == list(range(20))
            assert not held.done()
            service.gate.set()
            assert (await held).seq == 5

    asyncio.run(scenario())


def test_a_caller_with_another_secret_is_told_so_and_stays_nobody():
    async def scenario():
        async with listening(secret=Secret(b"another secret, long enough")) as (endpoint, peers, _, server):
            with pytest.raises(PeerDenied, match=r"automq\.inter\.broker\.secret\.file") as denied:
                await peers.call(endpoint, commands(1), 5)
            assert "long enough" not in str(denied.value)
            assert all(not row.principal for row in server.connections())

    asyncio.run(scenario())


def test_a_caller_of_another_cluster_is_told_so():
    async def scenario():
        async with listening(cluster_id="other") as (endpoint, peers, _, _):
            with pytest.raises(PeerDenied, match="this is cluster other"):
                await peers.call(endpoint, commands(1), 5)

    asyncio.run(scenario())


def test_one_that_answers_without_knowing_the_secret_is_not_believed():
    async def impostor(reader, writer):
        for answer in (NodeHelloResponse(node_id=2, nonce=bytes(32)), NodeProofResponse(proof=bytes(32))):
            header, _ = decode_request_header(await read_frame(reader))
            writer.write(b"".join(encode_response(header, answer)))

    async def scenario():
        server = await asyncio.start_server(impostor, "127.0.0.1", 0)
        peers = WirePeers(node_id=1, cluster_id=lambda: "cluster", secret=SECRET, rng=Random(1))
        endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(PeerDenied, match="does not know"):
            await peers.call(endpoint, commands(1), 5)
        await peers.close()
        server.close()

    asyncio.run(scenario())


def test_nothing_but_the_proof_is_answered_before_it():
    async def scenario():
        async with listening() as (endpoint, _, _, _):
            reader, writer = await connect(endpoint)
            writer.write(encode_request(20002, 0, 1, "x", commands(1)))
            assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("replayed", ["a proof without a greeting", "a second greeting"])
def test_a_greeting_is_used_once(replayed):
    async def scenario():
        async with listening() as (endpoint, _, _, _):
            reader, writer = await connect(endpoint)
            hello = NodeHelloRequest(cluster_id="cluster", node_id=1, nonce=bytes(32))
            writer.write(encode_request(20000, 0, 1, "x", hello))
            assert not decode_response(20000, 0, await read_frame(reader))[1].error_code
            if replayed == "a second greeting":
                writer.write(encode_request(20000, 0, 2, "x", hello))
            else:
                for number in (2, 3):
                    writer.write(encode_request(20001, 0, number, "x", NodeProofRequest(proof=bytes(32))))
                assert decode_response(20001, 0, await read_frame(reader))[1].error_code
            assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


def test_a_strangers_large_frame_closes_the_connection_before_it_is_read():
    async def scenario():
        async with listening() as (endpoint, _, _, server):
            reader, writer = await connect(endpoint)
            writer.write((1 << 20).to_bytes(4, "big") + bytes(100))
            assert await reader.read() == b""
            assert server.in_flight_bytes == 0
            writer.close()

    asyncio.run(scenario())


def test_a_stranger_that_says_nothing_is_closed_in_time():
    async def scenario():
        async with listening(limits=replace(LIMITS, handshake_s=0.2)) as (endpoint, _, _, _):
            reader, writer = await connect(endpoint)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    asyncio.run(scenario())


def test_a_call_without_an_answer_in_time_is_unknown_and_the_next_one_works():
    async def scenario():
        async with listening() as (endpoint, peers, service, _):
            with pytest.raises(PeerUnavailable, match="did not answer"):
                await peers.call(endpoint, TailMetadataRequest(after_seq=5), 0.2)
            service.gate.set()
            assert (await peers.call(endpoint, TailMetadataRequest(after_seq=6), 5)).seq == 6

    asyncio.run(scenario())


def test_when_the_called_broker_dies_its_callers_know_at_once():
    async def scenario():
        async with listening() as (endpoint, peers, _, server):
            held = asyncio.ensure_future(peers.call(endpoint, TailMetadataRequest(after_seq=5), 30))
            await peers.call(endpoint, commands(1), 5)
            await server.stop(0)
            with pytest.raises(PeerUnavailable):
                await asyncio.wait_for(held, 5)
            with pytest.raises(PeerUnavailable):
                await peers.call(endpoint, commands(1), 5)

    asyncio.run(scenario())
