"""One seed from beginning to end: faults and work side by side, then the heal, liveness, a whole read, and the orphans."""

import asyncio
import traceback
from dataclasses import dataclass, field
from random import Random
from typing import Any

from automq_broker.settings import Settings
from automq_broker.settings.model import load_settings

from sim.admin import Admin, Committer
from sim.checker import Checker
from sim.clients import Client, Scene
from sim.consumers import Consumer
from sim.faults import CLOCK_JUMP_MS, FaultSchedule
from sim.history import History, Key, Violation
from sim.options import Options
from sim.process import BrokerProcess
from sim.producers import Producer
from sim.trace import Trace
from sim.world import World

_LOOK_INTERVAL_S = 1.0
_IDLE_LOOK_INTERVAL_S = 30.0
_STORE_LOOKS_EVERY = 4
LIVENESS_S = 60.0
_SETTINGS: list[Settings] = []


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a seed went. `violation` is None when every promise was kept."""

    options: Options
    violation: str | None
    digest: str
    faults: list[str] = field(default_factory=list)
    recent: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class Run:
    """One broker in its world. A run of many replaces the parts that differ."""

    def __init__(self, options: Options, trace: Trace, world_of: Any) -> None:
        self._options = options
        self._trace = trace
        self._history = History()
        self._checker = self._make_checker()
        self._world: World = world_of(options, _settings(), trace, self._checker)
        self._scene = Scene(self._world, self._history)
        self._schedule = self._make_schedule()
        self._look_interval_s = _LOOK_INTERVAL_S
        self._rng = Random(f"run {options.seed}")

    def _make_checker(self) -> Checker:
        return Checker(self._history)

    def _make_schedule(self) -> FaultSchedule:
        return FaultSchedule(self._world)

    async def outcome(self) -> Outcome:
        """Run to the end or to the first violation."""
        asyncio.get_running_loop().set_exception_handler(self._callback_failed)
        work = asyncio.ensure_future(self._work())
        await asyncio.wait((work, self._checker.broken), return_when=asyncio.FIRST_COMPLETED)
        violation: str | None = None
        if self._checker.broken.done():
            violation = _told(self._checker.broken.result())
            work.cancel()
        elif (error := work.exception()) is not None:
            violation = _told(error)
        return Outcome(
            options=self._options,
            violation=violation,
            digest=self._trace.digest(),
            faults=list(self._trace.faults),
            recent=list(self._trace.recent),
            counts=self._counts(),
        )

    def _counts(self) -> dict[str, int]:
        return {
            "acked": self._history.acked_batches,
            "read": self._history.read_batches,
            "unknown": self._history.unknown_outcomes,
            "lives": sum(host.lives for host in self._world.hosts),
            "faults": self._world.faults_injected,
            "looks": self._checker.looks,
            "events": sum(self._trace.counts.values()),
        }

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as background:
            world = [background.create_task(work) for work in self._world.works()]
            looks = background.create_task(self._look())
            faults = background.create_task(self._schedule.run())
            async with asyncio.TaskGroup() as clients:
                for client in self._make_clients():
                    clients.create_task(client.run())
                await asyncio.sleep(self._options.minutes * 60)
                faults.cancel()
                self._heal()
                self._scene.is_ending = True
            await self._end()
            for task in (*world, looks):
                task.cancel()

    def _make_clients(self) -> list[Client]:
        work, scene = self._options.work, self._scene
        producers = [Producer(scene, f"i{n}", 1000 + n) for n in range(work.idempotent_producers)]
        producers += [Producer(scene, f"p{n}", -1) for n in range(work.plain_producers)]
        consumers = [Consumer(scene, f"c{n}") for n in range(work.consumers)]
        self._committers = [Committer(scene, f"g{n}") for n in range(work.groups)]
        return [Admin(scene, "admin"), *producers, *consumers, *self._committers]

    def _heal(self) -> None:
        self._schedule.heal()
        self._trace.note("fault", "everything heals")
        for host in self._world.hosts:
            if host.process is not None:
                host.process.fate.dies_at = 0

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_interval_s)
            for host in self._world.hosts:
                process = host.process
                if process is not None and process.is_serving and not process.is_dead:
                    self._checker.look(process, self._world.store)
                    self._look_at_bounds(process)
                    if self._checker.looks % _STORE_LOOKS_EVERY == 0:
                        await self._checker.compare_with_store(process, self._world.store, self._rng)

    def _look_at_bounds(self, process: BrokerProcess) -> None:
        for partition in process.running.engine.open_partitions.by_stream.values():
            key = (partition.topic_id, partition.index)
            if not self._world.is_current(process, key):
                continue
            if key in self._history.partitions and not self._history.of(key).is_deleted:
                self._history.saw_bounds(key, partition.log.high_watermark, partition.log.start_offset)

    async def _end(self) -> None:
        """I15, I1 and I10: every partition takes a batch and gives all of its records; garbage goes."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LIVENESS_S
        self._scene.is_ending = False
        for _ in range(2):
            await self._use_everything(deadline)
            self._scene.is_healed = True  # what a faulty read cached as damaged has been asked for once
            await self._restart()
            deadline = loop.time() + LIVENESS_S
        await self._use_everything(deadline)
        await self._garbage_goes()
        self._check_volume()

    async def _use_everything(self, deadline: float) -> None:
        """Each live partition: one batch in before the deadline, everything out without standing still for that long."""
        try:
            async with asyncio.timeout_at(deadline):
                keys = self._scene.live_keys()
                for number, key in enumerate(keys):
                    producer = Producer(self._scene, f"last{self._history.acked_batches}-{number}", -1)
                    while not await producer.deliver(key, [producer._batch(key)]):
                        continue
            for key in keys:
                await Consumer(self._scene, f"last{number}").read_to_end(key, LIVENESS_S)
            async with asyncio.timeout(LIVENESS_S):
                for committer in self._committers:
                    while not await committer.look():
                        await asyncio.sleep(0.2)
        except TimeoutError:
            raise Violation(f"I15: not everything works {LIVENESS_S} s after the heal") from None

    async def _restart(self) -> None:
        """A power cut or an orderly stop, as the seed has it."""
        host = self._world.hosts[0]
        if self._rng.random() < 0.5:
            host.kill()
        else:
            await host.stop()
        await self._world.serving()

    async def _garbage_goes(self) -> None:
        """I10; orphans that the brake holds back are a reported state and no failure."""
        process = await self._world.serving()
        self._look_interval_s = _IDLE_LOOK_INTERVAL_S
        self._trace.note("check", "waiting for the garbage to go")
        for host in self._world.hosts:  # a lease that was issued while the clock was ahead counts as young until then
            host.clock.offset_ms += 2 * CLOCK_JUMP_MS
        garbage = set(self._checker.orphans(process, self._world.store))
        await asyncio.sleep(
            2 * (self._options.engine.id_block_age_ms / 1000 + self._options.engine.sweep_interval_s) + 200
        )
        left = [key for key in self._checker.orphans(process, self._world.store) if key in garbage]
        if left and not self._is_held_back():
            raise Violation(f"I10: {len(left)} keys that nothing refers to are still there: {left[:5]}")

    def _is_held_back(self) -> bool:
        """Whether a sweep found more orphans than it may delete unasked."""
        processes = (host.process for host in self._world.hosts)
        return any(each is not None and each.is_serving and each.running.sweeper.held_back for each in processes)

    def _check_volume(self) -> None:
        """A run that hardly did anything proves nothing."""
        counts, least = self._counts(), max(10.0, 20 * self._options.minutes)
        if counts["acked"] < least or counts["read"] < least:
            raise Violation(f"too little work: {counts}")

    def _callback_failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = str(context.get("message", ""))
        if isinstance(error, BaseException) and message.startswith("Exception in callback"):
            violation = error if isinstance(error, Violation) else Violation(f"a callback failed: {error!r}")
            if violation is not error:
                violation.__cause__ = error
            self._checker.fail(violation)


def _settings() -> Settings:
    if not _SETTINGS:
        _SETTINGS.append(load_settings())
    return _SETTINGS[0]


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, Violation) and error.__cause__ is None:
        return str(error)
    shown = "".join(traceback.format_exception(error))
    return f"{error}\n{shown}"


def _key(key: Key) -> str:
    return f"topic {key[0].int}-{key[1]}"


__all__ = ["LIVENESS_S", "Outcome", "Run"]
