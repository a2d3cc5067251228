"""Programs on virtual time, and one of them: a broker as assembly joins it, without sockets, on a host's twins."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from random import Random
from typing import Any, TypeVar

from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.desk import join_coordinators
from automq_broker.assembly.knobs import topic_settings
from automq_broker.engine import start as engine_start
from automq_broker.engine.control import Control
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.groups import GroupCoordinatorKnobs, GroupCoordinators
from automq_broker.engine.metadata_node import Controlling
from automq_broker.engine.recover import read_superblock
from automq_broker.engine.running import Identity, Outside, Running
from automq_broker.engine.supervise import Supervisor
from automq_broker.groups.placement import GROUPS_TOPIC
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import Endpoint
from automq_broker.ports import Clock, WalDevice
from automq_broker.settings import Settings
from automq_broker.wal.superblock import Superblock
from twins.engine_world import Fate, Workers

from sim.bucket import SimBucket
from sim.disk import SimWal
from sim.loop import OWNER
from sim.options import Options

T = TypeVar("T")

_SLAB_BYTES = 64 << 10
PRODUCER_ID_EXPIRATION_MS = 86_400_000


class Gone(Exception):
    """The process died before it answered: the outcome is unknown."""


class Process:
    """A program from its birth to its death. Everything that runs in it carries it as OWNER, and ends with it."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.parked: list[asyncio.Handle] = []
        self.is_serving = False
        self.context = copy_context()
        self.context.run(OWNER.set, self)

    @property
    def is_dead(self) -> bool:
        """Whether nothing of it may run any more."""
        return self.fate.is_dead

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = 1e9) -> T:
        """Run `work()` inside the process, as a request of a client. Raises Gone, TimeoutError (it goes on), or its error."""
        if self.is_dead:
            raise Gone
        loop = asyncio.get_running_loop()
        task: asyncio.Task[T] = loop.create_task(work(), context=self.context.copy())
        died = loop.create_task(self.fate.died.wait())
        await asyncio.wait((task, died), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if task.done() and not task.cancelled() and not self.is_dead:
            return task.result()
        task.add_done_callback(_forget_outcome)
        if self.is_dead:
            raise Gone
        raise TimeoutError

    async def live(self) -> BaseException | None:
        """Start, serve, and wait for the end; the error that ended it, None if it was killed. Never returns otherwise."""
        loop = asyncio.get_running_loop()
        life = loop.create_task(self._live(), context=self.context.copy())
        died = loop.create_task(self.fate.died.wait())
        await asyncio.wait((life, died), return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        self.is_serving = False
        failure = life.exception() if life.done() and not life.cancelled() and not self.is_dead else None
        self.die()
        return failure

    def die(self) -> None:
        """Nothing of it runs from now on; the device keeps what was durable and a torn rest."""
        self.fate.died.set()
        self.is_serving = False
        for task in list(self.tasks):
            task.cancel()

    async def _live(self) -> None:
        raise NotImplementedError


class BrokerProcess(Process):
    """A broker that is alone: controller, engine and group coordinators."""

    def __init__(
        self, *, node_id: int, seed: str, options: Options, settings: Settings, device: SimWal, bucket: SimBucket,
        clock: Clock,
    ) -> None:  # fmt: skip
        super().__init__(device.fate)
        self.node_id = NodeId(node_id)
        self.device = device
        self.bucket = bucket
        self.control: Controlling
        self.running: Running
        self.groups: GroupCoordinators
        self.clock = clock
        self._rng = Random(seed)
        self._options = options
        self._settings = settings

    @property
    def control_knobs(self) -> ControlKnobs:
        """Those of the controller's loop."""
        return self._options.control

    async def stop(self) -> None:
        """The orderly end, run inside the process."""
        self.is_serving = False
        self.groups.close()
        await engine_start.stop(self.running, lambda _: None)
        await self.control.stop()

    async def _live(self) -> None:
        supervisor = Supervisor()
        await self._start(supervisor)
        self.is_serving = True
        ended = asyncio.ensure_future(self.control.wait_ended())
        failed = asyncio.ensure_future(supervisor.wait_failed())
        await asyncio.wait((failed, ended), return_when=asyncio.FIRST_COMPLETED)
        failure = failed.result() if failed.done() else ended.result()
        if failure is not None:
            raise failure

    async def _start(self, supervisor: Supervisor) -> None:
        wal = await self.device.open()
        superblock = await read_superblock(wal)
        incarnation = uuid.UUID(int=self._rng.getrandbits(128))
        volume = uuid.UUID(int=self._rng.getrandbits(128)) if superblock is None else superblock.volume_uuid
        identity = Identity(
            node_id=self.node_id, incarnation=incarnation, volume_uuid=volume, endpoints=self._endpoints()
        )
        await self._start_control(identity, superblock, wal)
        self.running = await engine_start.start(
            identity=identity,
            superblock=superblock,
            outside=outside(self.bucket, wal, self.clock, self._rng),
            metadata=self.control,
            supervisor=supervisor,
            knobs=self._options.engine,
            budgets=self._options.budgets,
            topics=topic_settings(LiveConfigs(self._settings, self.control), PRODUCER_ID_EXPIRATION_MS),
        )
        self._announce(supervisor)
        self._start_groups(supervisor)
        self.running.engine.open_partitions.announce_all()

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return ()

    async def _start_control(self, identity: Identity, superblock: Superblock | None, wal: WalDevice) -> None:
        control_identity = self._control_identity(identity, superblock, f"sim:{self.node_id}")
        self.control = Control(self.bucket, self.clock, control_identity, self._options.control, rng=self._rng)
        await self.control.start()

    def _control_identity(self, identity: Identity, superblock: Superblock | None, endpoint: str) -> ControlIdentity:
        return ControlIdentity(
            node_id=self.node_id,
            incarnation=identity.incarnation,
            endpoint=endpoint,
            volume_uuid=identity.volume_uuid,
            wal_cluster_id="" if superblock is None else superblock.cluster_id,
        )

    def _announce(self, supervisor: Supervisor) -> None:
        """The engine has started: tell who needs to know. A lone broker has nobody to tell."""

    def _start_groups(self, supervisor: Supervisor) -> None:
        def partition_count() -> int | None:
            topic = self.control.state.topic(GROUPS_TOPIC)
            return None if topic is None else len(topic.partitions)

        self.groups = GroupCoordinators(
            self.clock,
            GroupCoordinatorKnobs(snapshot_bytes=self._options.group_snapshot_bytes, snapshot_interval_s=20.0),
            lambda: uuid.UUID(int=self._rng.getrandbits(128)).hex,
            start_task=supervisor.start,
            is_topic=lambda name: name in self.control.state.topic_ids,
            partition_count=partition_count,
        )

        join_coordinators(self.groups, self.running)


def outside(bucket: SimBucket, device: WalDevice, clock: Clock, rng: Random) -> Outside:
    """What an engine works with."""
    return Outside(
        bucket=bucket,
        device=device,
        clock=clock,
        workers=Workers(rng),
        rng=rng,
        allocate=lambda size: memoryview(bytearray(max(size, _SLAB_BYTES))),
    )


def _forget_outcome(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


__all__ = ["PRODUCER_ID_EXPIRATION_MS", "BrokerProcess", "Gone", "Process", "outside"]
