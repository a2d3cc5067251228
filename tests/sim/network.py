"""The private network between brokers: frames that are lost, late, doubled or come when their sender is long gone.

A frame on its way belongs to nobody: it arrives although its sender was stopped or has died. What it starts at the other
end belongs to the process there.
"""

import asyncio
from contextvars import Context
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from automq_broker.ports import PeerUnavailable
from twins.network import Network, TwinPeers, _served

from sim.process import Gone

if TYPE_CHECKING:
    from sim.member import Member

_SUBMIT_COMMANDS = 20002


class SimNetwork(Network):
    """Processes by endpoint, each at a place; `cut` holds pairs of places."""

    def __init__(self, seed: str) -> None:
        super().__init__()
        self.rng = Random(seed)
        self.processes: dict[str, Member] = {}
        self.places: dict[str, str] = {}
        self.late: dict[str, list[tuple[str, bytes]]] = {}
        """Places whose commands to the controller are held back, and what was: (target, frame)."""

    def join(self, process: "Member") -> None:
        """The process listens."""
        self.processes[process.endpoint] = process

    def leave(self, endpoint: str) -> None:
        """It ended; its port is closed."""
        self.processes.pop(endpoint, None)

    def move(self, endpoint: str, place: str) -> None:
        """The process that listens there is cut off as before, and another one takes its old place."""
        before = self._place(endpoint)
        self.places[endpoint] = place
        for source, target in sorted(self.cut):
            if before == source:
                self.cut.add((place, target))
            if before == target:
                self.cut.add((source, place))

    async def deliver(self, source: str, target: str, frame: bytes) -> bytes:
        """See Network.deliver."""
        if (held := self.late.get(self._place(source))) is not None and _key(frame) == _SUBMIT_COMMANDS:
            held.append((target, frame))
            await asyncio.Event().wait()
        loop = asyncio.get_running_loop()
        work = loop.create_task(super().deliver(source, target, frame), context=Context())
        return await asyncio.shield(work)

    async def deliver_late(self, words: list[tuple[str, bytes]]) -> None:
        """What was held back arrives, whoever lives to hear of it."""
        for target, frame in words:
            try:
                await self._handle(target, frame)
            except PeerUnavailable:
                continue

    async def _travel(self, source: str, target: str) -> None:
        await super()._travel(self._place(source), self._place(target))

    async def _handle(self, target: str, frame: bytes) -> bytes:
        process = self.processes.get(target)
        if process is None or process.is_dead:
            raise PeerUnavailable("connection refused (twin)")
        try:
            return await process.call(partial(_served, process.serve, frame))
        except Gone:
            raise PeerUnavailable("connection reset (twin)") from None

    def _place(self, endpoint: str) -> str:
        return self.places.get(endpoint, endpoint)


def _key(frame: bytes) -> int:
    return int.from_bytes(frame[:2], "big")


__all__ = ["SimNetwork", "TwinPeers"]
