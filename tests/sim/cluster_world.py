"""Everything outside the processes of many brokers: machines, adopters, bucket, network, operator; and who asks whom."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from random import Random
from typing import Any

from automq_broker.kernel.ids import StreamId
from automq_broker.settings import Settings
from twins.engine_world import Fate
from twins.memory_bucket import Faults, MemoryStore
from twins.network import NetworkFaults

from sim.adopter_pod import AdopterPod
from sim.bucket import SimBucket
from sim.cluster_checker import ClusterChecker
from sim.history import Key
from sim.machine import Machine
from sim.member import Member
from sim.network import SimNetwork
from sim.operator import Operator
from sim.options import ClusterOptions, Options
from sim.process import Process
from sim.signals import is_frozen
from sim.trace import Trace
from sim.truth import Truth

_STALE_CLIENT = 0.05
"""How often a client goes where it should not: its metadata is old."""


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
        self._balanced_before = 0
        self.adoptions = 0
        """Logs that an adopter drained to their end."""
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

    def balancer_ended(self, process: Member) -> None:
        """Its moves count on."""
        self._balanced_before += process.balanced

    @property
    def balanced(self) -> int:
        """Moves that balancers made."""
        return self._balanced_before + sum(machine.process.balanced for machine in self.hosts if machine.process)

    @property
    def faults_injected(self) -> int:
        """What the twins did to the processes, and how often these died."""
        errors = sum(sum(bucket.errors.values()) for bucket in self.buckets)
        return errors + sum(machine.lives - 1 for machine in self.hosts) + self.trace.counts["fault"]


__all__ = ["ClusterWorld"]
