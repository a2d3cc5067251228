"""Producers: batches with unique payloads, several in flight, tried again after errors and unknown outcomes."""

import asyncio
from functools import partial

from automq_broker.engine.partition import Appended
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode

from sim.clients import TRY_AGAIN, Client, Scene, find
from sim.history import Key, Sent, Violation
from sim.process import BrokerProcess, Gone

_IN_FLIGHT_MAX = 5
_OUTCOME_UNKNOWN = object()


class Producer(Client):
    """Idempotent with a producer id >= 0: then the same bytes go again until they are acknowledged."""

    def __init__(self, scene: Scene, name: str, producer_id: int) -> None:
        super().__init__(scene, name)
        self._producer_id = producer_id
        self._sequences: dict[Key, int] = {}
        self._made = 0

    async def round(self) -> None:
        """A few batches to one partition."""
        key = self.choose_key()
        if key is None:
            return
        await self.deliver(key, [self._batch(key) for _ in range(self.rng.randint(1, _IN_FLIGHT_MAX))])

    async def deliver(self, key: Key, pending: list[Sent]) -> bool:
        """Try until everything is acknowledged; False if the topic went or a plain producer gave up."""
        while pending and not self.scene.is_ending and not self.scene.history.of(key).is_deleted:
            process = await self.scene.world.leader(key)
            outcomes: dict[int, object] = {}
            for sent in pending:
                self.scene.history.sends(sent)
            try:
                await process.call(partial(self._send, process, key, pending, outcomes), self.rng.uniform(2.0, 40.0))
            except (Gone, TimeoutError):
                self.scene.history.unknown_outcomes += 1
            self._judge(key, pending, outcomes)
            pending = [sent for sent in pending if sent.base_offset is None]
            if pending and self._producer_id < 0:
                if self.rng.random() < 0.3:
                    return False
                pending = [self._batch(key) for _ in pending]
            if pending:
                await asyncio.sleep(self.rng.uniform(0.02, 0.3))
        return not pending

    async def _send(self, process: BrokerProcess, key: Key, pending: list[Sent], outcomes: dict[int, object]) -> None:
        """Inside the process: all in one turn, as from one connection. Outcomes arrive while it lives."""
        futures = []
        for sent in pending:
            future = asyncio.get_running_loop().create_future()
            futures.append(future)
            done = partial(self._told, process, sent, outcomes, future)
            try:
                engine = process.running.engine
                engine.append(find(process, key), bytearray(sent.data), done, timeout_s=self.rng.uniform(0.5, 20.0))
            except ClientFault as fault:
                done(fault)
        await asyncio.gather(*futures)

    def _told(
        self, process: BrokerProcess, sent: Sent, outcomes: dict[int, object], future: "asyncio.Future[None]",
        outcome: Appended | BaseException,
    ) -> None:  # fmt: skip
        """The answer leaves the process at this moment."""
        if process.is_dead:
            return
        outcomes[sent.crc] = outcome
        if isinstance(outcome, Appended):
            self.note(f"acked {sent.key[0].int}-{sent.key[1]}@{outcome.base_offset} +{sent.count}")
            try:
                self.scene.history.acked(sent, outcome.base_offset)
            except Violation as violation:
                self.scene.world.checker.fail(violation)
        if not future.done():
            future.set_result(None)

    def _judge(self, key: Key, pending: list[Sent], outcomes: dict[int, object]) -> None:
        is_first_unacked = True
        for sent in pending:
            outcome = outcomes.get(sent.crc, _OUTCOME_UNKNOWN)
            if isinstance(outcome, ClientFault):
                self.note(f"refused {key[0].int}-{key[1]} {ErrorCode(outcome.code).name}")
                is_behind = not is_first_unacked and outcome.code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
                if not is_behind and not self.scene.history.of(key).is_deleted:
                    self.scene.check_fault("produce", key, outcome)
            elif isinstance(outcome, BaseException) and not isinstance(outcome, TRY_AGAIN):
                raise Violation(f"a producer was told {outcome!r}")
            is_first_unacked = is_first_unacked and sent.base_offset is not None

    def _batch(self, key: Key) -> Sent:
        work = self.scene.world.options.work
        count = self.rng.randint(1, work.batch_records_max)
        self._made += 1
        now_ms = self.scene.world.hosts[0].clock.now_ms()
        made = [
            records.Record(
                index, now_ms, None,
                f"{self.name} {self._made} {index} ".encode() + bytes(self.rng.randint(0, work.record_bytes_max)), (),
            )
            for index in range(count)
        ]  # fmt: skip
        sequence = -1
        if self._producer_id >= 0:
            sequence = self._sequences.get(key, 0)
            self._sequences[key] = sequence + count
        data = records.encode_batch(
            made,
            producer_id=self._producer_id,
            producer_epoch=0 if self._producer_id >= 0 else -1,
            base_sequence=sequence,
        )
        return Sent(key=key, data=data, crc=records.read_batch_header(data).crc, count=count)


__all__ = ["Producer"]
