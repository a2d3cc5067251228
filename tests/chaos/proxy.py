"""A TCP proxy in front of each broker's inter-broker listener: it delays, resets, and drops in one direction.

The first frame of a connection is NodeHello, which names the caller, so a fault may concern one pair of brokers alone.
What was dropped on a connection is gone: when the fault is over, such a connection is reset, as a real network's would be.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from automq_broker.wire.apis.k20000_node_hello import NodeHelloRequest
from automq_broker.wire.frames import WireError, decode_request, decode_request_header

_CHUNK_BYTES = 64 * 1024
_HELLO_BYTES_MAX = 4096
_TARGET_PAUSE_S = 0.05


class Way(StrEnum):
    """A direction, as the caller sees it."""

    OUT = "requests"
    BACK = "answers"


class Effect(StrEnum):
    """What happens to bytes."""

    DELAY = "delay"
    RESET = "reset"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`caller` and `called` are node ids, None for any; RESET concerns both ways."""

    effect: Effect
    caller: int | None = None
    called: int | None = None
    ways: frozenset[Way] = frozenset(Way)
    delay_s: float = 0.0

    def concerns(self, caller: int, called: int, way: Way) -> bool:
        """Whether bytes on this way are hurt."""
        return self.caller in (None, caller) and self.called in (None, called) and way in self.ways


class Proxies:
    """One loop in a thread of its own; `ports` is where each broker's peers are to connect to."""

    def __init__(self, node_ids: list[int], target_of: Callable[[int], tuple[str, int]]) -> None:
        self._target_of = target_of
        self._rules: list[Rule] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies")
        self._thread.start()
        self._servers = {node_id: self._call(self._listen(node_id)) for node_id in node_ids}
        self.ports = {node_id: int(each.sockets[0].getsockname()[1]) for node_id, each in self._servers.items()}

    @contextlib.contextmanager
    def hurting(self, rule: Rule) -> Iterator[None]:
        """The rule holds until the block ends."""
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def close(self) -> None:
        """End every connection."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, node_id: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(node_id, reader, writer)

        return await asyncio.start_server(serve, "127.0.0.1", 0)

    async def _end(self) -> None:
        for server in self._servers.values():
            server.close()
        for writer in self._writers:
            writer.transport.abort()  # its pumps see the end, and then its connection ends as it always does
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # aborted sockets close in the next turns of the loop

    async def _serve(self, called: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._join(called, reader, writer)
        finally:
            self._writers.discard(writer)
            _reset(writer)

    async def _join(self, called: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            frame = await _first_frame(reader)
            caller = _caller_of(memoryview(frame)[4:])
            there, back = await asyncio.open_connection(*self._target_of(called))
        except (OSError, WireError, asyncio.IncompleteReadError):
            return
        pumps = [
            asyncio.create_task(self._pump(caller, called, Way.OUT, reader, back, frame)),
            asyncio.create_task(self._pump(caller, called, Way.BACK, there, writer, b"")),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _reset(back)

    async def _pump(
        self,
        caller: int,
        called: int,
        way: Way,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        first: bytes,
    ) -> None:
        """Until one side ends, a reset is due, or something was dropped and the drop is over."""
        chunk, has_dropped = first, False
        while True:
            effects = {rule.effect: rule for rule in list(self._rules) if rule.concerns(caller, called, way)}
            if Effect.RESET in effects or (has_dropped and Effect.DROP not in effects):
                return
            if Effect.DROP in effects:
                has_dropped = has_dropped or bool(chunk)
            elif chunk:
                if Effect.DELAY in effects:
                    await asyncio.sleep(effects[Effect.DELAY].delay_s)
                sink.write(chunk)
                await sink.drain()
            chunk = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TARGET_PAUSE_S):
                    chunk = await source.read(_CHUNK_BYTES)
                    if not chunk:
                        return


async def _first_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    (size,) = struct.unpack(">i", head)
    if not 0 < size <= _HELLO_BYTES_MAX:
        raise WireError(f"a first frame of {size} bytes is no NodeHello")
    return head + await reader.readexactly(size)


def _caller_of(frame: memoryview) -> int:
    header, position = decode_request_header(frame)
    hello: object = decode_request(header, frame, position)
    if not isinstance(hello, NodeHelloRequest):
        raise WireError(f"a connection that begins with {type(hello).__name__} is no broker's")
    node_id: int = hello.node_id
    return node_id


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: nobody is told politely."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


__all__ = ["Effect", "Proxies", "Rule", "Way"]
