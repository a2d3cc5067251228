"""Hosts, their disks and clocks, the bucket, and the programs that run: what outlives any process, and who restarts it."""

import asyncio
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any

from automq_broker.kernel.errors import AutomqError
from automq_broker.settings import Settings
from twins.engine_world import Fate
from twins.memory_bucket import Faults, MemoryStore
from twins.memory_wal import WalFaults
from twins.virtual_time import LoopClock

from sim.bucket import SimBucket
from sim.checker import Checker
from sim.disk import SimWal
from sim.history import Key
from sim.options import Options
from sim.process import BrokerProcess, Gone
from sim.trace import Trace


class Host:
    """One machine: a disk, a wall clock, and at most one broker process, restarted for ever after it ended."""

    def __init__(self, world: "World", node_id: int) -> None:
        self.node_id = node_id
        self.clock = LoopClock()
        self.disk_faults = WalFaults(latency_s=world.options.world.disk_latency_s)
        self.process: BrokerProcess | None = None
        self.lives = 0
        self._world = world
        self._rng = Random(f"host {node_id} {world.options.seed}")
        self._platter = bytearray(world.options.world.wal_bytes)
        self._is_down = False

    async def run(self) -> None:
        """For ever: a process, its end, a pause, the next process."""
        low, high = self._world.options.world.restart_delay_s
        while True:
            process = self._boot()
            self._world.trace.note("process", f"node {self.node_id} life {self.lives} starts")
            failure = await process.live()
            self._platter = process.device.power_cut(seed=self._rng.getrandbits(32))
            self.process = None
            self._world.trace.note("process", f"node {self.node_id} life {self.lives} ended: {failure!r}")
            self._world.checker.process_ended(self, process, failure)
            await asyncio.sleep(self._rng.uniform(low, high))

    @property
    def clock_drift_ms(self) -> int:
        """How far the wall clock is off."""
        return self.clock.offset_ms - LoopClock().offset_ms

    async def stop(self) -> None:
        """Ask the process to stop in order; after the grace it is killed."""
        process = self.process
        if process is None or not process.is_serving:
            return
        self._world.trace.note("fault", f"node {self.node_id} is asked to stop")
        try:
            await process.call(process.stop, self._world.options.world.stop_grace_s)
            self._world.trace.note("process", f"node {self.node_id} stopped in order")
        except (Gone, TimeoutError) as why:
            self._world.trace.note("process", f"node {self.node_id} did not stop in order: {why!r}")
        except AutomqError as failure:
            self._world.checker.process_ended(self, process, failure)
        process.die()

    def kill(self) -> None:
        """Now."""
        if self.process is not None:
            self.process.die()

    def _boot(self) -> BrokerProcess:
        self.lives += 1
        world = self._world
        fate = Fate()
        device = SimWal(platter=self._platter, faults=self.disk_faults, seed=self._rng.getrandbits(32))
        device.fate = fate
        device.on_write = lambda position, length, error: world.trace.note(
            "write", f"{position} {length} {error or ''}"
        )
        bucket = SimBucket(world.store, faults=world.bucket_faults, seed=self._rng.getrandbits(32))
        bucket.fate = fate
        bucket.on_change = lambda kind, key: world.trace.note("bucket", f"{kind} {key}")
        self.process = process = world.make_process(
            node_id=self.node_id,
            seed=f"process {self.node_id} {self.lives} {world.options.seed}",
            options=world.options,
            settings=world.settings,
            device=device,
            bucket=bucket,
            clock=self.clock,
        )
        bucket.on_delete = lambda keys: world.checker.deletes(process, keys)
        world.buckets.append(bucket)
        return process


class World:
    """Everything outside the processes. `make_process` is replaced by mutants only."""

    make_process = BrokerProcess

    def __init__(self, options: Options, settings: Settings, trace: Trace, checker: Checker) -> None:
        self.options = options
        self.settings = settings
        self.trace = trace
        self.checker = checker
        self.store = MemoryStore()
        self.bucket_faults = Faults(latency_s=options.world.bucket_latency_s)
        self.buckets: list[SimBucket] = []
        self.hosts: Sequence[Host] = [Host(self, 1)]

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What runs for ever beside clients and faults."""
        return [host.run() for host in self.hosts]

    def ways_to_bucket(self) -> list[Faults]:
        """The faults of every way from a host to the bucket."""
        return [self.bucket_faults]

    def is_current(self, process: BrokerProcess, key: Key) -> bool:
        """Whether nobody can know more of this partition than this process."""
        return True

    async def leader(self, key: Key) -> BrokerProcess:
        """Where a client goes for this partition; waits for somebody."""
        return await self.serving()

    async def serving(self) -> BrokerProcess:
        """A process that serves; waits for one."""
        while True:
            for host in self.hosts:
                if host.process is not None and host.process.is_serving and not host.process.is_dead:
                    return host.process
            await asyncio.sleep(0.05)

    @property
    def faults_injected(self) -> int:
        """What the twins of disk and bucket did to the processes, and how often these died."""
        return sum(sum(bucket.errors.values()) for bucket in self.buckets) + sum(host.lives - 1 for host in self.hosts)


__all__ = ["Host", "World"]
