"""The real operator's loop and planners over the simulated machines. Proof of death is the world's own knowledge."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from automq_broker.admin import cluster_views
from automq_broker.kernel.errors import AutomqError
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import Command, RescueDone, RescueNode
from automq_operator import loop
from automq_operator.broker_api import as_seen
from automq_operator.decide.values import FailoverPolicy, Plan, Policy
from automq_operator.loop import StepFailedError
from automq_operator.steps import (
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    GrantRescue,
    ReleaseVolume,
    StartBroker,
    Step,
)
from automq_operator.world import Broker, Host, Instance, InstanceState, Memory, Slot, Volume, World

from sim.history import Violation
from sim.process import Gone

if TYPE_CHECKING:
    from sim.cluster_world import ClusterWorld

_CALL_TIMEOUT_S = 5.0


class Operator:
    """Satisfies loop.Platform and loop.Reporter."""

    def __init__(self, world: "ClusterWorld") -> None:
        self.wake = asyncio.Event()
        self._world = world
        self._memory = Memory()
        self._silent_since: dict[str, float] = {}
        self._adopters = 0
        cluster = world.cluster
        self._policy = Policy(
            failover=FailoverPolicy(
                restart_grace_s=cluster.restart_grace_s,
                brake_s=cluster.brake_s,
                adopter_pending_max_s=10.0,
                restart_backoff_s=0.2,
                restart_backoff_max_s=2.0,
            )
        )

    async def run(self) -> None:
        """For ever."""
        interval_s = self._world.cluster.operator_interval_s
        await loop.run(self, self, self._policy, now=self._world.now, wake=self.wake, interval_s=interval_s)

    async def observe(self) -> World:
        """See loop.Platform."""
        world = self._world
        brokers = self._brokers()
        return World(
            slots=tuple(Slot(node_id=machine.node_id) for machine in world.hosts),
            is_metadata_known=brokers is not None,
            brokers=brokers or (),
            instances=tuple(seen for machine in world.hosts if (seen := self._instance(machine)) is not None),
            volumes=tuple(
                Volume(name=machine.volume.handle, node_id=machine.node_id, holder=machine.volume.holder)
                for machine in world.hosts
                if world.cluster.has_disks
            ),
            hosts=tuple(Host(name=machine.place, is_ready=machine.is_ready) for machine in world.hosts),
            adopters=tuple(pod.seen for pod in world.adopters.values()),
            memory=self._memory,
        )

    async def remember(self, memory: Memory) -> None:
        """See loop.Platform."""
        self._memory = memory

    async def act(self, step: Step) -> None:
        """See loop.Platform."""
        self._world.trace.note("operator", str(step))
        match step:
            case GrantRescue():
                await self._grant(step)
            case ReleaseVolume():
                self._release(step)
            case CreateAdopter():
                self._create(step)
            case DeleteAdopter():
                self._world.adopters.pop(step.uid).delete()
            case ConfirmDrained():
                node_id, epoch = NodeId(step.key.node_id), BrokerEpoch(step.granted_epoch)
                await self._submit(RescueDone(node_id=node_id, broker_epoch=epoch))
            case StartBroker():
                if not self._world.machine(step.node_id).start():
                    raise StepFailedError("its volume is not free, or its machine is not there")
            case _:
                raise StepFailedError("nobody scales or drains here")

    def decided(self, world: World, planned: Plan) -> None:
        """See loop.Reporter."""

    def turn(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """See loop.Reporter."""
        for step, why in failures.items():
            self._world.trace.note("operator", f"{type(step).__name__} failed: {why}")

    def _brokers(self) -> tuple[Broker, ...] | None:
        """The newest answer of those that answer."""
        states = [(each.control.epoch, each.control.seq, each.node_id, each) for each in self._world.answering()]
        if not states:
            return None
        newest = max(states, key=lambda each: each[:3])[3]
        rows = cluster_views.brokers(newest.control.state, lambda _: None).brokers
        return tuple(map(as_seen, rows))

    def _instance(self, machine: Any) -> Instance | None:
        from sim.signals import is_frozen

        instance, process = machine.instance, machine.process
        if instance is None or process is None:
            return instance
        if not is_frozen(process):
            self._silent_since.pop(instance.uid, None)
            return instance
        since = self._silent_since.setdefault(instance.uid, self._world.now())
        return replace(instance, state=InstanceState.SILENT, since=since)

    async def _grant(self, step: GrantRescue) -> None:
        key = step.key
        machine, node = self._world.machine(key.node_id), self._world.truth.node(key.node_id)
        is_current = node is not None and node.broker_epoch == key.broker_epoch
        if is_current and machine.process is not None:
            raise Violation(f"law 6: a rescue of node {key.node_id} is asked for, which lives")
        await self._submit(
            RescueNode(
                node_id=NodeId(key.node_id), expected_epoch=BrokerEpoch(key.broker_epoch), rescue=key.rescue
            )
        )  # fmt: skip

    def _release(self, step: ReleaseVolume) -> None:
        machine = self._world.machine(step.key.node_id)
        if machine.volume.holder != step.holder:
            return
        if machine.process is not None and machine.instance and machine.instance.uid == step.holder:
            raise Violation(f"law 6: the volume of node {machine.node_id} is taken away, which lives")
        machine.volume.release(0)
        machine.volume_is_free()

    def _create(self, step: CreateAdopter) -> None:
        from sim.adopter_pod import AdopterPod

        for pod in self._world.adopters.values():
            if (pod.seen.granted_epoch, pod.seen.attempt) == (step.granted_epoch, step.attempt):
                return
        self._adopters += 1
        pod = AdopterPod(self._world, step, f"a{self._adopters}")
        self._world.adopters[pod.uid] = pod
        self._world.start(pod.run())

    async def _submit(self, command: Command[Any]) -> None:
        """Ask the first broker that answers."""
        for member in self._world.answering():
            try:
                await member.call(partial(member.control.submit, command), _CALL_TIMEOUT_S)
            except (Gone, TimeoutError):
                continue
            except AutomqError as refusal:
                raise StepFailedError(str(refusal)) from refusal
            else:
                return
        raise StepFailedError("no broker answers")


__all__ = ["Operator"]
