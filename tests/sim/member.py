"""Programs of a cluster, composed as assembly does: a broker among others, and an adopter that drains a dead one's log."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from automq_broker.admin.cluster_actions import ClusterActions
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.assembly.knobs import topic_settings
from automq_broker.cluster.balance import Aim, Goal, Rules
from automq_broker.cluster.moves import Pacing
from automq_broker.contract.admin import DrainRequest
from automq_broker.contract.adopt import AdoptReport
from automq_broker.engine import start as engine_start
from automq_broker.engine.adopt import Adopter, adopt
from automq_broker.engine.balancing import Balancer, BalancerKnobs
from automq_broker.engine.control_values import Identity as ControlIdentity
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.foresight import foresee_refusal
from automq_broker.engine.hand_over import hand_over
from automq_broker.engine.load_report import LoadReport
from automq_broker.engine.metadata_heartbeat import heartbeats
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.engine.metadata_values import ClusterKnobs
from automq_broker.engine.running import Identity
from automq_broker.engine.supervise import Supervisor
from automq_broker.kernel.errors import Corrupt, Fenced
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.rows import Endpoint
from automq_broker.ports import WalDevice
from automq_broker.settings import Settings
from automq_broker.wal.superblock import Superblock
from automq_broker.wire.apis.k20002_submit_commands import SubmitCommandsRequest
from automq_broker.wire.apis.k20003_node_heartbeat import NodeHeartbeatRequest
from automq_broker.wire.apis.k20005_describe_nodes import DescribeNodesRequest
from twins.engine_world import Workers
from twins.virtual_time import LoopClock

from sim.bucket import SimBucket
from sim.bulk_log import AttachedBulks
from sim.network import SimNetwork
from sim.options import Options
from sim.process import PRODUCER_ID_EXPIRATION_MS, BrokerProcess, Gone, Process, outside
from sim.truth import Truth
from sim.volume import AttachedWal

T = TypeVar("T")

_HAND_OVER_SHARE = 0.5
_EAGER = BalancerKnobs(
    is_enabled=True,
    rules=Rules(aims=(Aim(goal=Goal.NETWORK_IN), Aim(goal=Goal.LEADERS, slack=1.0))),
    pacing=Pacing(interval_s=2.0, batch_interval_s=1.0, batch_time_s=5.0, rest_s=3.0),
)


class Member(BrokerProcess):
    """A broker among many. `endpoint` is its own for this life, so that nothing reaches a later one by mistake."""

    control: MetadataNode
    device: AttachedWal | AttachedBulks  # type: ignore[assignment]
    incarnation: UUID | None = None
    epoch_before: int | None = None
    """The node's broker epoch when this process had looked at its log."""

    def __init__(self, *, place: str, endpoint: str, network: SimNetwork, truth: Truth, **parts: Any) -> None:
        super().__init__(**parts)
        self.device.context = self.context
        self.endpoint = endpoint
        self._place = place
        self._network = network
        self._truth = truth
        self._is_draining = False
        self._balancer: Balancer | None = None
        self._decisions = Decisions(self.clock)
        network.places[endpoint] = place

    async def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float = 1e9) -> T:
        """See Process. A fenced broker, or one whose disk was taken away, ends with its connections: nobody is told of it."""
        try:
            return await super().call(work, timeout_s)
        except Fenced as error:
            raise Gone from error
        except Corrupt as error:
            if not self.device.is_pulled:
                raise
            raise Gone from error

    async def stop(self) -> None:
        """The orderly end: the others take the partitions over first."""
        self._is_draining = True
        limit_s = self._options.world.stop_grace_s * _HAND_OVER_SHARE
        partitions = self.running.engine.open_partitions
        are_given = await hand_over(self.control, partitions, self.node_id, limit_s, self.clock.now_ms())
        self.is_serving = False
        self.groups.close()
        await engine_start.stop(self.running, lambda _: None, keeps_partitions=not are_given)
        await self.control.stop()

    async def drain(self, node_id: int, *, is_cancelled: bool) -> None:
        """As an administrator asks any broker for it."""
        configs = LiveConfigs(self._settings, self.control)
        actions = ClusterActions(self.control, self._decisions, None, self.running.sweeper, self.clock, configs)
        await actions.drain(DrainRequest(node_id=node_id, is_cancelled=is_cancelled))

    @property
    def balanced(self) -> int:
        """Moves that its balancer made."""
        return 0 if self._balancer is None else self._balancer.moves_total.total()

    async def serve(self, request: Any) -> Any:
        """What the other brokers ask."""
        service = self.control.service
        if isinstance(request, SubmitCommandsRequest):
            response = await service.submit_commands(request)
            self._truth.commands_answered(request, response)
            return response
        if isinstance(request, NodeHeartbeatRequest):
            return await service.heartbeat(request)
        if isinstance(request, DescribeNodesRequest):
            return await service.describe_nodes(request)
        return await service.tail(request)

    def _endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint(listener="PLAINTEXT", host=self._place, port=9092),)

    async def _start_control(self, identity: Identity, superblock: Superblock | None, wal: WalDevice) -> None:
        self.incarnation = identity.incarnation
        self._truth.started_on[identity.incarnation] = self.device.volume
        node = self._truth.node(self.node_id)
        self.epoch_before = None if node is None else node.broker_epoch
        await foresee_refusal(self.bucket, engine_start.registration(identity, superblock, wal), self._rng)
        self.control = MetadataNode(
            self.bucket,
            self.clock,
            self._control_identity(identity, superblock, self.endpoint),
            self._network.peers(self.endpoint),
            cluster_knobs(self._options),
            rng=self._rng,
        )
        await self.control.start()
        self._network.join(self)

    def _announce(self, supervisor: Supervisor) -> None:
        running = self.running
        report = LoadReport(
            open_partitions=running.engine.open_partitions,
            clock=self.clock,
            wal_capacity_bytes=running.device.capacity_bytes,
            wal_free_bytes=lambda: running.writer.free_bytes,
            connections=lambda: 0,
            is_draining=lambda: self._is_draining,
            applied_seq=lambda: self.control.seq,
        )
        beats = heartbeats(self.control, self.node_id, running.broker_epoch, report.take, self._rng)
        running.heartbeats = supervisor.start("heartbeats", beats)
        if self._options.cluster is not None and self._options.cluster.balances:
            self._balancer = Balancer(self.control, self._decisions, self.clock, Workers(self._rng), lambda: _EAGER)
            supervisor.start("balancer", self._balancer.run())


class AdopterProcess(Process):
    """Drains the volume of a dead broker, beside a survivor. `report` is there when it succeeded."""

    def __init__(
        self, *, node_id: int, granted_epoch: int, place: str, endpoint: str, network: SimNetwork, options: Options,
        settings: Settings, device: AttachedWal | AttachedBulks, bucket: SimBucket, clock: LoopClock, seed: str,
    ) -> None:  # fmt: skip
        super().__init__(device.fate)
        device.context = self.context
        self.device = device
        self.bucket = bucket
        self.report: AdoptReport | None = None
        self._node_id = NodeId(node_id)
        self._granted_epoch = BrokerEpoch(granted_epoch)
        self._options = options
        self._settings = settings
        self._clock = clock
        self._rng = Random(seed)
        network.places[endpoint] = place
        identity = ControlIdentity(
            node_id=self._node_id,
            incarnation=UUID(int=self._rng.getrandbits(128)),
            endpoint="",
            volume_uuid=UUID(int=0),
            is_candidate=False,
        )
        self._metadata = MetadataNode(
            bucket, clock, identity, network.peers(endpoint), cluster_knobs(options), rng=self._rng
        )

    async def _live(self) -> None:
        supervisor = Supervisor()
        wal = await self.device.open()
        await self._metadata.start()
        adopter = Adopter(
            node_id=self._node_id,
            broker_epoch=self._granted_epoch,
            outside=outside(self.bucket, wal, self._clock, self._rng),
            metadata=self._metadata,
            supervisor=supervisor,
            knobs=self._options.engine,
            budgets=self._options.budgets,
            topics=topic_settings(LiveConfigs(self._settings, self._metadata), PRODUCER_ID_EXPIRATION_MS),
        )
        self.report = await self._unless_failed(adopt(adopter), supervisor)
        await supervisor.stop()
        await self._metadata.stop()

    async def _unless_failed(self, work: Awaitable[AdoptReport], supervisor: Supervisor) -> AdoptReport:
        adopting = asyncio.ensure_future(work)
        failed = asyncio.ensure_future(supervisor.wait_failed())
        ended = asyncio.ensure_future(self._metadata.wait_ended())
        await asyncio.wait({adopting, failed, ended}, return_when=asyncio.FIRST_COMPLETED)
        if adopting.done():
            return adopting.result()
        raise (failed.result() if failed.done() else ended.result()) or Fenced("the metadata's loop ended")


def cluster_knobs(options: Options) -> ClusterKnobs:
    """As assembly cuts them from the settings, and short waits."""
    cluster = options.cluster
    assert cluster is not None
    return ClusterKnobs(
        control=replace(
            options.control,
            renew_interval_s=cluster.session_s / 3,
            session_s=cluster.session_s,
            watch_interval_s=min(1.0, cluster.session_s / 6),
            confirms_every_answer=True,
        ),
        session_s=cluster.session_s,
        heartbeat_s=cluster.heartbeat_s,
        return_s=10.0,
        call_timeout_s=5.0,
        submit_timeout_s=15.0,
    )


__all__ = ["AdopterProcess", "Member", "cluster_knobs"]
