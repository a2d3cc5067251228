"""Many machines, each with a clock, a volume and at most one broker; adopters beside them; who is where, and for how long."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from automq_broker.kernel.errors import AutomqError
from automq_broker.kernel.ids import StreamId
from automq_broker.ports import WalWriteFailed
from automq_broker.settings import Settings
from automq_operator.steps import CreateAdopter
from automq_operator.world import Adopter, AdopterState, Instance, InstanceState, Proof
from twins.engine_world import Fate
from twins.memory_bucket import Faults, MemoryStore
from twins.memory_wal import WalFaults
from twins.network import NetworkFaults
from twins.virtual_time import LoopClock

from sim.bucket import SimBucket
from sim.cluster_checker import ClusterChecker
from sim.history import Key
from sim.loop import SeededLoop
from sim.member import AdopterProcess, Member
from sim.network import SimNetwork
from sim.operator import Operator
from sim.options import ClusterOptions, Options
from sim.process import Gone, Process
from sim.trace import Trace
from sim.truth import Truth
from sim.volume import Volume

_QUICK_END_S = 10.0
_STALE_CLIENT = 0.05
"""How often a client goes where it should not: its metadata is old."""


class Machine:
    """Where one node runs. `instance` is what the platform says of the process that runs or ran there last."""

    def __init__(self, world: "ClusterWorld", node_id: int) -> None:
        options, cluster = world.options, world.cluster
        self._rng = Random(f"machine {node_id} {options.seed}")
        self.node_id = node_id
        self.place = f"m{node_id}"
        self.clock = LoopClock()
        self.clock.offset_ms += self._rng.randint(-cluster.clock_offset_max_ms, cluster.clock_offset_max_ms)
        self.volume = Volume(f"volume-{node_id}", options.world.wal_bytes, options.world.disk_latency_s)
        self.bucket_faults = Faults(latency_s=options.world.bucket_latency_s)
        self.process: Member | None = None
        self.instance: Instance | None = None
        self.lives = 0
        self.is_ready = True
        self._world = world

    @property
    def disk_faults(self) -> WalFaults:
        """Of its own volume, wherever that is attached."""
        return self.volume.faults

    @property
    def clock_drift_ms(self) -> int:
        """How far the wall clock is off."""
        return self.clock.offset_ms - LoopClock().offset_ms

    def start(self) -> bool:
        """Run its broker, if the machine is there and the volume is free."""
        if self.process is not None or not self.is_ready or self.volume.holder is not None:
            return False
        self.process = process = self._boot()
        self._world.start(self._watch(process, self.instance))
        return True

    async def stop(self) -> None:
        """Ask the process to stop in order; after the grace it is killed."""
        world, process = self._world, self.process
        if process is None or not process.is_serving:
            return
        world.trace.note("fault", f"node {self.node_id} is asked to stop")
        try:
            await process.call(process.stop, world.options.world.stop_grace_s)
            world.trace.note("stopped", f"node {self.node_id} stopped in order")
        except (Gone, TimeoutError) as why:
            world.trace.note("process", f"node {self.node_id} did not stop in order: {why!r}")
        except (AutomqError, WalWriteFailed) as failure:
            world.checker.process_ended(self, process, failure)
        self.kill()

    def kill(self) -> None:
        """Now."""
        if self.process is not None:
            world_kill(self.process)

    def lose(self) -> None:
        """The machine is gone with what ran on it; its volume stays attached to it until somebody takes it away."""
        self.is_ready = False
        self.kill()

    def repair(self) -> None:
        """A machine in its place: nothing runs there, and nothing is attached."""
        if not self.is_ready and self.process is None and self.instance and self.volume.holder == self.instance.uid:
            self.volume.release(self._rng.getrandbits(32))
        if not self.is_ready and self.instance and self.instance.proof is Proof.MACHINE_STOPPED:
            self.instance = replace(self.instance, proof=Proof.PROCESS_ENDED)
        self.is_ready = True

    def take_volume_away(self) -> None:
        """The platform detaches the volume from under a broker that nobody hears: that one lives on, and is nobody."""
        process, instance = self.process, self.instance
        if process is None or instance is None or self.volume.holder != instance.uid:
            return
        self.volume.release(self._rng.getrandbits(32))
        self._world.trace.note("fault", f"node {self.node_id} loses its volume, its process lives on")
        self._world.zombies.append(process)
        self._world.network.move(process.endpoint, f"zombie of {process.endpoint}")
        self._ended(instance, Proof.DETACHED)

    def _boot(self) -> Member:
        self.lives += 1
        world, fate = self._world, Fate()
        uid = f"{self.node_id}.{self.lives}"
        device = self.volume.attach(uid, fate, self._rng.getrandbits(32))
        device.on_write = lambda position, length, error: world.trace.note(
            "write", f"{uid} {position} {length} {error or ''}"
        )
        process = world.make_member(
            place=self.place,
            endpoint=f"{self.place}:{self.lives}",
            network=world.network,
            truth=world.truth,
            node_id=self.node_id,
            seed=f"process {uid} {world.options.seed}",
            options=world.options,
            settings=world.settings,
            device=device,
            bucket=world.bucket(self, fate, uid, self._rng.getrandbits(32)),
            clock=self.clock,
        )
        before = self.instance.quick_ends if self.instance else 0
        self.instance = Instance(
            node_id=self.node_id,
            uid=uid,
            host=self.place,
            state=InstanceState.RUNNING,
            since=world.now(),
            quick_ends=before,
        )
        world.trace.note("process", f"node {self.node_id} life {self.lives} starts")
        return process

    async def _watch(self, process: Member, instance: Instance | None) -> None:
        failure = await process.live()
        world = self._world
        world.trace.note("process", f"node {instance.uid if instance else ''} ended: {failure!r}")
        world.network.leave(process.endpoint)
        self.volume.ended(process.device, self._rng.getrandbits(32), stays_attached=not self.is_ready)
        world.checker.process_ended(self, process, failure)
        if process in world.zombies:
            world.zombies.remove(process)
        if self.process is process and instance is not None:
            self._ended(instance, Proof.PROCESS_ENDED if self.is_ready else Proof.MACHINE_STOPPED)

    def _ended(self, instance: Instance, proof: Proof) -> None:
        self.process = None
        is_quick = self._world.now() - instance.since < _QUICK_END_S
        self.instance = replace(
            instance,
            state=InstanceState.ENDED,
            since=self._world.now(),
            proof=proof,
            quick_ends=instance.quick_ends + 1 if is_quick else 0,
        )
        self._world.operator.wake.set()


class AdopterPod:
    """An adopter from its creation to its deletion: it waits for the volume, then its process runs."""

    def __init__(self, world: "ClusterWorld", step: CreateAdopter, uid: str) -> None:
        self._world = world
        self._step = step
        self._target = world.machine(step.key.node_id)
        self._beside = world.machine(step.beside)
        self._rng = Random(f"adopter {uid} {world.options.seed}")
        self.uid = uid
        self.process: AdopterProcess | None = None
        self.seen = Adopter(
            key=step.key,
            uid=uid,
            granted_epoch=step.granted_epoch,
            beside=step.beside,
            host=self._beside.place,
            state=AdopterState.PENDING,
            since=world.now(),
            attempt=step.attempt,
            is_placed=True,
        )
        self._is_deleted = False

    async def run(self) -> None:
        """To its end."""
        while self._target.volume.holder is not None or not self._beside.is_ready:
            if self._is_deleted:
                return
            await asyncio.sleep(0.1)
        if self._is_deleted:
            return
        self._become(AdopterState.RUNNING)
        self.process = process = self._boot()
        failure = await process.live()
        self._world.trace.note("process", f"adopter {self.uid} ended: {failure!r}")
        self._target.volume.ended(process.device, self._rng.getrandbits(32))
        self._world.checker.adopter_ended(process, failure)
        self._become(AdopterState.SUCCEEDED if process.report is not None else AdopterState.FAILED)
        self._world.operator.wake.set()

    def delete(self) -> None:
        """Killed, if it runs."""
        self._is_deleted = True
        if self.process is not None:
            world_kill(self.process)

    def is_beside(self, machine: Machine) -> bool:
        """Whether it runs on this machine."""
        return self._beside is machine

    def _become(self, state: AdopterState) -> None:
        self.seen = replace(self.seen, state=state, since=self._world.now())

    def _boot(self) -> AdopterProcess:
        world, fate = self._world, Fate()
        device = self._target.volume.attach(self.uid, fate, self._rng.getrandbits(32))
        device.on_write = lambda position, length, error: world.trace.note(
            "write", f"{self.uid} {position} {length} {error or ''}"
        )
        world.trace.note("process", f"adopter {self.uid} of node {self._target.node_id} starts")
        return AdopterProcess(
            node_id=self._target.node_id,
            granted_epoch=self._step.granted_epoch,
            place=self._beside.place,
            endpoint=f"{self._beside.place}:{self.uid}",
            network=world.network,
            options=world.options,
            settings=world.settings,
            device=device,
            bucket=world.bucket(self._beside, fate, self.uid, self._rng.getrandbits(32)),
            clock=self._beside.clock,
            seed=f"adopter process {self.uid} {world.options.seed}",
        )


class ClusterWorld:
    """Everything outside the processes. `make_member` is replaced by mutants only."""

    make_member = Member

    def __init__(self, options: Options, settings: Settings, trace: Trace, checker: ClusterChecker) -> None:
        assert options.cluster is not None
        self.options = options
        self.cluster: ClusterOptions = options.cluster
        self.settings = settings
        self.trace = trace
        self.checker = checker
        self.store = MemoryStore()
        self.truth = Truth(self.store, checker.fail)
        checker.truth = self.truth
        self.network = SimNetwork(f"network {options.seed}")
        self.network.faults = self.calm_network()
        self.buckets: list[SimBucket] = []
        self.zombies: list[Member] = []
        self.adopters: dict[str, AdopterPod] = {}
        self.hosts: Sequence[Machine] = [Machine(self, each) for each in range(1, self.cluster.brokers + 1)]
        self.operator = Operator(self)
        self._rng = Random(f"clients {options.seed}")
        self._tasks: set[asyncio.Task[None]] = set()

    def works(self) -> list[Coroutine[Any, Any, None]]:
        """What runs for ever beside clients and faults."""
        return [self.operator.run()]

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something of the world itself; its failure is one of the simulator."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.checker.failed(error)

    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def calm_network(self) -> NetworkFaults:
        """Its usual speed, without faults."""
        return NetworkFaults(delay_s=self.cluster.network_delay_s)

    def ways_to_bucket(self) -> list[Faults]:
        """The faults of every way from a machine to the bucket."""
        return [machine.bucket_faults for machine in self.hosts]

    def bucket(self, machine: Machine, fate: Fate, uid: str, seed: int) -> SimBucket:
        """The way of a process on this machine to the bucket."""
        bucket = SimBucket(self.store, faults=machine.bucket_faults, seed=seed)
        bucket.fate = fate
        bucket.on_change = lambda kind, key: self.trace.note("bucket", f"{uid} {kind} {key}")
        bucket.on_delete = self.checker.deleted
        self.buckets.append(bucket)
        return bucket

    def machine(self, node_id: int) -> Machine:
        """Of this node."""
        return self.hosts[node_id - 1]

    def processes(self) -> Iterator[Process]:
        """Everything that lives."""
        yield from (machine.process for machine in self.hosts if machine.process is not None)
        yield from self.zombies
        yield from (each.process for each in self.adopters.values() if each.process is not None)

    def answering(self) -> list[Member]:
        """Brokers that would answer a client now, those among them that should not included."""
        members = [machine.process for machine in self.hosts if machine.process is not None] + self.zombies
        return [each for each in members if each.is_serving and not each.is_dead and not is_frozen(each)]

    def is_current(self, process: Member, key: Key) -> bool:
        """Whether nobody can know more of this partition than this process: it has it open, as agreed on."""
        topic = self.truth.state.topic_by_id(key[0])
        if topic is None:
            return False
        stream_id = topic.partitions[key[1]].stream_id
        head, node = self.truth.state.stream_head(stream_id), self.truth.node(process.node_id)
        partition = process.running.engine.open_partitions.by_stream.get(StreamId(stream_id))
        if head is None or node is None or partition is None:
            return False
        is_own = head.owner == process.node_id and head.epoch == partition.stream_epoch
        return is_own and node.broker_epoch == process.running.broker_epoch

    async def leader(self, key: Key) -> Member:
        """Where a client goes for this partition: what some broker says, or said a while ago. Waits for somebody."""
        while True:
            answering = self.answering()
            if answering and self._rng.random() < _STALE_CLIENT:
                return self._rng.choice(answering)
            if answering and (found := self._leader_by(self._rng.choice(answering), key)) is not None:
                return found
            await asyncio.sleep(0.1)

    def _leader_by(self, asked: Member, key: Key) -> Member | None:
        topic = asked.control.state.topic_by_id(key[0])
        if topic is None:
            return asked
        owner = topic.partitions[key[1]].owner
        found = self.machine(owner).process if 0 < owner <= len(self.hosts) else None
        return found if found is not None and found.is_serving and not found.is_dead else None

    async def serving(self) -> Member:
        """A process that serves; waits for one."""
        while not (answering := self.answering()):
            await asyncio.sleep(0.05)
        return self._rng.choice(answering)

    @property
    def faults_injected(self) -> int:
        """What the twins did to the processes, and how often these died."""
        errors = sum(sum(bucket.errors.values()) for bucket in self.buckets)
        return errors + sum(machine.lives - 1 for machine in self.hosts) + self.trace.counts["fault"]


def is_frozen(process: Process) -> bool:
    """Whether it is stopped by SIGSTOP."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    return loop.is_frozen(process)


def thaw(process: Process) -> None:
    """SIGCONT."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    loop.thaw(process)


def freeze(process: Process) -> None:
    """SIGSTOP."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    loop.freeze(process)


def world_kill(process: Process) -> None:
    """SIGKILL, which a stopped process dies of as well."""
    process.die()
    thaw(process)


__all__ = ["AdopterPod", "ClusterWorld", "Machine", "freeze", "is_frozen", "thaw"]
