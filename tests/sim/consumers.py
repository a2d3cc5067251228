"""Consumers: one follows the tail, another reads old data; all check what they are given."""

import asyncio
from functools import partial

from automq_broker.engine.read import ReadAnswer
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.wire.codes import ErrorCode

from sim.clients import TRY_AGAIN, Client, Scene, find
from sim.history import Bounds, Key, Violation
from sim.process import BrokerProcess, Gone

_READ_TIMEOUT_S = 20.0


class Consumer(Client):
    """Keeps a position per partition; every few rounds it goes back to the start."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name)
        self._positions: dict[Key, int] = {}

    async def round(self) -> None:
        """A few reads of one partition."""
        key = self.choose_key()
        if key is None:
            return
        if self.rng.random() < 0.2:
            self._positions[key] = 0
        for _ in range(self.rng.randint(1, 8)):
            if not await self._read_on(key):
                return

    async def read_to_end(self, key: Key, patience_s: float) -> None:
        """Everything from the start to a high watermark; TimeoutError if `patience_s` pass without a record or the end."""
        self._positions[key] = 0
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(patience_s) as timeout:
            while not self.scene.history.of(key).is_deleted:
                if await self._read_on(key, wait=False):
                    timeout.reschedule(loop.time() + patience_s)
                elif self._is_at_end(key):
                    return
                else:
                    await asyncio.sleep(0.1)

    def _is_at_end(self, key: Key) -> bool:
        history = self.scene.history.of(key)
        return self._positions[key] >= max(history.acked_end, history.high_watermark)

    async def _read_on(self, key: Key, *, wait: bool = True) -> bool:
        """One read; True if it brought something."""
        process = await self.scene.world.leader(key)
        offset = self._positions.get(key, 0)
        max_bytes = self.rng.choice((1, 1000, 20_000, 1 << 20))
        since = self.scene.history.bounds(key) if self.scene.world.is_current(process, key) else None
        try:
            answer = await process.call(partial(self._read, process, key, offset, max_bytes, wait), _READ_TIMEOUT_S)
        except (Gone, TimeoutError, *TRY_AGAIN):
            return False
        except ClientFault as fault:
            return self._refused(process, key, offset, fault, since)
        if self.scene.history.of(key).is_deleted:
            return False
        position = self.scene.history.read(
            key, offset, answer.segments, answer.high_watermark, answer.log_start_offset, since=since
        )
        self.note(f"read {key[0].int}-{key[1]} {offset}..{position} of {answer.high_watermark}")
        self._positions[key] = position
        if (
            since is not None
            and answer.segments == []
            and offset < answer.high_watermark
            and offset >= answer.log_start_offset
        ):
            raise Violation(f"I1: an empty answer at {offset} below the high watermark {answer.high_watermark}")
        return position > offset

    async def _read(self, process: BrokerProcess, key: Key, offset: int, max_bytes: int, wait: bool) -> ReadAnswer:
        engine = process.running.engine
        partition = find(process, key)
        answer = await engine.read(partition, Offset(offset), max_bytes, self.name)
        if not answer.segments and wait:
            deadline = asyncio.get_running_loop().time() + self.rng.uniform(0.0, 2.0)
            await engine.wait_appended([partition], 1, deadline)
            answer = await engine.read(partition, Offset(offset), max_bytes, self.name)
        return answer

    def _refused(
        self, process: BrokerProcess, key: Key, offset: int, fault: ClientFault, since: Bounds | None
    ) -> bool:  # fmt: skip
        history = self.scene.history.of(key)
        if history.is_deleted:
            return False
        if fault.code == ErrorCode.OFFSET_OUT_OF_RANGE:
            if since is None:
                return False
            try:
                log = find(process, key).log
            except ClientFault:
                return False
            self.scene.history.saw_bounds(key, log.high_watermark, log.start_offset, since=since)
            if log.start_offset <= offset <= log.high_watermark:
                raise Violation(f"I1: {offset} is out of range of {log.start_offset}..{log.high_watermark}")
            self._positions[key] = log.start_offset
            return True
        if fault.code == ErrorCode.KAFKA_STORAGE_ERROR and not self.scene.is_healed:
            return False  # the bucket hands out damaged bytes just now
        self.scene.check_fault("read", key, fault)
        return False


__all__ = ["Consumer"]
