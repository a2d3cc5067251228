"""Hostile bytes: the server lives, memory comes back, other clients are served meanwhile."""

import asyncio
import random
import struct
from typing import Any

import uvloop
from automq_broker.front.values import Limits
from automq_broker.wire.apis.k18_api_versions import ApiVersionsRequest
from automq_broker.wire.frames import encode_request
from automq_broker.wire.index import request_class, response_class
from twins.front_client import SERVED, Front, front


def _answer_anything(header: Any, request: Any, view: Any) -> Any:
    return response_class(header.api_key)()


def _valid(rng: random.Random) -> bytes:
    key, least, most = rng.choice(SERVED)
    return encode_request(key, rng.randint(least, most), rng.getrandbits(31), "fuzz", request_class(key)())


def _mutated(rng: random.Random) -> bytes:
    """A valid request with a few wrong bytes, a wrong length, a missing end, or a stranger's bytes altogether."""
    frame = bytearray(_valid(rng))
    kind = rng.randrange(5)
    if kind == 0:
        for _ in range(rng.randint(1, 8)):
            frame[rng.randrange(4, len(frame))] = rng.getrandbits(8)
    elif kind == 1:
        frame[:4] = struct.pack(">i", rng.choice([0, -1, 1, 3, 2**31 - 1, 104_857_601, len(frame) - 5]))
    elif kind == 2:
        cut = rng.randrange(5, len(frame))
        frame = bytearray(struct.pack(">i", cut - 4)) + frame[4:cut]
    elif kind == 3:
        frame = bytearray(rng.randbytes(rng.randrange(1, 400)))
    else:
        body = rng.randbytes(rng.randrange(0, 60))
        key, least, most = rng.choice(SERVED)
        frame = bytearray(struct.pack(">ihhih", 10 + len(body), key, rng.randint(least, most), 1, -1) + body)
    return bytes(frame)


async def _attack(f: Front, seed: int, frames: int) -> None:
    rng = random.Random(seed)
    for _ in range(frames):
        client = await f.client()
        for _ in range(rng.randint(0, 3)):
            client.send_bytes(_valid(rng))
        client.send_bytes(_mutated(rng))
        if rng.random() < 0.5:
            try:
                await asyncio.wait_for(client.reader.read(100), 0.02)
            except (TimeoutError, ConnectionError):
                pass
        client.writer.transport.abort()


def test_mutated_requests_cost_only_their_own_connection() -> None:
    async def scenario() -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with front(_answer_anything, limits=Limits(in_flight_bytes=4 << 20)) as f:
            honest = await f.client()
            attacks = asyncio.gather(*(_attack(f, seed, 60) for seed in range(8)))
            slowest = 0.0
            while not attacks.done():
                started = f.clock.monotonic()
                honest.send_versions()
                await honest.answer()
                slowest = max(slowest, f.clock.monotonic() - started)
                await asyncio.sleep(0.001)
            await attacks
            await f.until(lambda: f.server.connection_count == 1)
            await f.until(lambda: f.server.in_flight_bytes == 0)
            assert f.server.waiting_for_memory == 0
            assert slowest < 1.0
            assert {reason for _, reason in f.meters.failed} == {"bad frame length", "undecodable", "unsupported"}
            assert not [context for context in reported if "exception" in context]

    uvloop.run(scenario())


def test_announced_but_never_sent_requests_do_not_stop_small_ones() -> None:
    async def scenario() -> None:
        async with front(_answer_anything, limits=Limits(in_flight_bytes=4 << 20)) as f:
            hostile = [await f.client() for _ in range(20)]
            for client in hostile:
                client.send_bytes(struct.pack(">i", 90_000_000) + b"\x00" * 100)
            await f.until(lambda: f.server.waiting_for_memory > 0)
            honest = await f.client()
            honest.send_versions()
            await honest.answer()
            for client in hostile:
                await client.close()
            await f.until(lambda: f.server.in_flight_bytes == 0)

    uvloop.run(scenario())


def test_any_way_of_cutting_a_stream_gives_the_same_answers() -> None:
    async def scenario() -> None:
        rng = random.Random(3)
        async with front(_answer_anything) as f:
            for _ in range(30):
                client = await f.client()
                sizes = [rng.choice([1, 30, 5000, 70_000]) for _ in range(rng.randint(1, 8))]
                stream = b"".join(
                    encode_request(18, 3, number, "c" * 10, ApiVersionsRequest(client_software_name="n" * size))
                    for number, size in enumerate(sizes)
                )
                position = 0
                while position < len(stream):
                    step = rng.choice([1, 3, 4, 7, 100, 65_536, 200_000])
                    client.send_bytes(stream[position : position + step])
                    position += step
                    if rng.random() < 0.3:
                        await asyncio.sleep(0)
                assert [(await client.answer(18, 3))[0] for _ in sizes] == list(range(len(sizes)))
                client.writer.close()

    uvloop.run(scenario())
