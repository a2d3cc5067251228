"""A cluster as the planners' steps change it: controller, brokers, volumes and adopters by their rules, no clock of its own.

A step may be carried out twice or at a bad moment; what a real controller or platform would refuse is refused here too
(nothing changes). `harmed` collects destructive steps that met a broker which lived.
"""

from dataclasses import dataclass, field, replace
from typing import assert_never

from automq_operator.steps import (
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    DrainBroker,
    GrantRescue,
    ReleaseVolume,
    ScaleTo,
    StartBroker,
    Step,
    StopBroker,
    UncordonBroker,
)
from automq_operator.world import (
    Adopter,
    AdopterState,
    Broker,
    Host,
    Instance,
    InstanceState,
    Memory,
    Proof,
    Slot,
    Status,
    Volume,
    World,
)

REVISION = "r1"


@dataclass(slots=True)
class ClusterTwin:
    """Brokers 1..n, one host each, zones round robin; every broker has four partitions open."""

    slots: list[Slot]
    now: float = 1000.0
    epoch: int = 100
    revision: str = REVISION
    is_releasing_needed: bool = False
    """As in Kubernetes: a dead instance keeps its volume until somebody releases it."""
    brokers: dict[int, Broker] = field(default_factory=dict)
    instances: dict[int, Instance] = field(default_factory=dict)
    holders: dict[int, str | None] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    adopters: dict[str, Adopter] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    is_metadata_known: bool = True
    fails_adopters: int = 0
    """So many of the next adopters end without having drained."""
    truly_alive: set[int] = field(default_factory=set)
    harmed: list[Step] = field(default_factory=list)
    uid: int = 0

    @classmethod
    def of(cls, count: int, zones: tuple[str, ...] = ("",)) -> "ClusterTwin":
        """A converged cluster."""
        twin = cls([Slot(node_id=each, zone=zones[(each - 1) % len(zones)]) for each in range(1, count + 1)])
        for slot in twin.slots:
            twin.hosts[f"h{slot.node_id}"] = Host(name=f"h{slot.node_id}", zone=slot.zone)
            twin.boot(slot.node_id)
            twin.settle(slot.node_id)
        return twin

    def boot(self, node_id: int) -> None:
        """Its process starts, takes the volume and registers at a new epoch; open partitions stay open."""
        self.uid += 1
        before = self.instances.get(node_id)
        self.instances[node_id] = Instance(
            node_id=node_id,
            uid=f"i{self.uid}",
            host=before.host if before else f"h{node_id}",
            state=InstanceState.RUNNING,
            since=self.now,
            revision=self.revision,
        )
        self.truly_alive.add(node_id)
        self.holders[node_id] = f"i{self.uid}"
        self.epoch += 1
        old = self.brokers.get(node_id)
        zone = next((slot.zone for slot in self.slots if slot.node_id == node_id), "")
        fresh = old or Broker(node_id=node_id, status=Status.STOPPED, broker_epoch=0, volume=f"v{node_id}", zone=zone)
        self.brokers[node_id] = replace(fresh, status=Status.RECOVERING, broker_epoch=self.epoch, rescue=None)

    def settle(self, node_id: int) -> None:
        """Its recovery is over: it serves what is assigned to it, four partitions at least."""
        broker = self.brokers[node_id]
        count = 0 if broker.is_cordoned else max(4, broker.partitions_assigned)
        self.brokers[node_id] = replace(broker, status=Status.ACTIVE, partitions_open=count, partitions_assigned=count)

    def kill(self, node_id: int, proof: Proof | None = Proof.PROCESS_ENDED) -> None:
        """It dies; the metadata does not know yet. Without proof nobody does."""
        self.truly_alive.discard(node_id)
        state = InstanceState.SILENT if proof is None else InstanceState.ENDED
        self.instances[node_id] = replace(self.instances[node_id], state=state, since=self.now, proof=proof)
        if not self.is_releasing_needed:
            self.holders[node_id] = None
        broker = self.brokers[node_id]
        if broker.status is Status.ACTIVE:
            self.brokers[node_id] = replace(broker, status=Status.FENCED)

    def freeze(self, node_id: int) -> None:
        """It lives and answers nobody."""
        self.instances[node_id] = replace(self.instances[node_id], state=InstanceState.SILENT, since=self.now)
        self.brokers[node_id] = replace(self.brokers[node_id], status=Status.FENCED)

    def world(self) -> World:
        """What an operator sees now."""
        volumes = [
            Volume(name=f"v{node_id}", node_id=node_id, zone=self._zone(node_id), holder=holder)
            for node_id, holder in sorted(self.holders.items())
        ]
        return World(
            slots=tuple(self.slots),
            revision=self.revision,
            is_metadata_known=self.is_metadata_known,
            controller=1,
            brokers=tuple(self.brokers[each] for each in sorted(self.brokers)) if self.is_metadata_known else (),
            instances=tuple(self.instances[each] for each in sorted(self.instances)),
            volumes=tuple(volumes),
            hosts=tuple(self.hosts.values()),
            adopters=tuple(self.adopters.values()),
            partitions=100,
            memory=self.memory,
        )

    def _zone(self, node_id: int) -> str:
        return self.hosts[f"h{node_id}"].zone if f"h{node_id}" in self.hosts else ""

    def pass_time(self, seconds: float = 1.0) -> None:
        """Whatever goes on by itself: adopters attach, drain, end; started brokers recover; drains are served."""
        self.now += seconds
        for adopter in list(self.adopters.values()):
            self._advance(adopter)
        for node_id, broker in list(self.brokers.items()):
            instance = self.instances[node_id]
            if broker.status is Status.RECOVERING and instance.state is InstanceState.RUNNING:
                self.settle(node_id)
            elif broker.is_cordoned and broker.status is Status.ACTIVE:
                self.brokers[node_id] = replace(broker, partitions_open=0)

    def _advance(self, adopter: Adopter) -> None:
        node_id = adopter.key.node_id
        broker = self.brokers[node_id]
        if adopter.state is AdopterState.PENDING and self.holders[node_id] is None:
            self.holders[node_id] = adopter.uid
            self._set(adopter, AdopterState.RUNNING)
        elif adopter.state is AdopterState.RUNNING:
            is_spoken_for = broker.status is Status.RESCUING and broker.broker_epoch == adopter.granted_epoch
            self.holders[node_id] = None
            if not is_spoken_for or self.fails_adopters:
                self.fails_adopters = max(0, self.fails_adopters - 1)
                self._set(adopter, AdopterState.FAILED)
            else:
                self.brokers[node_id] = replace(broker, partitions_open=0)
                self._set(adopter, AdopterState.SUCCEEDED)

    def _set(self, adopter: Adopter, state: AdopterState) -> None:
        self.adopters[adopter.uid] = replace(adopter, state=state, since=self.now)

    def carry_out(self, step: Step) -> None:
        """One step, as a controller or a platform does it or refuses it."""
        match step:
            case GrantRescue():
                self._grant(step)
            case ReleaseVolume():
                if step.key.node_id in self.truly_alive:
                    self.harmed.append(step)
                if self.holders[step.key.node_id] == step.holder:
                    self.holders[step.key.node_id] = None
            case CreateAdopter():
                self._create(step)
            case DeleteAdopter():
                if self.adopters.pop(step.uid, None) is not None and self.holders[step.node_id] == step.uid:
                    self.holders[step.node_id] = None
            case ConfirmDrained():
                broker = self.brokers[step.key.node_id]
                is_current = broker.status is Status.RESCUING and broker.broker_epoch == step.granted_epoch
                if is_current and not broker.partitions_open:
                    self.brokers[broker.node_id] = replace(broker, status=Status.STOPPED, rescue=None)
            case StartBroker():
                instance = self.instances.get(step.node_id)
                is_free = self.holders.get(step.node_id) is None
                if is_free and (instance is None or instance.state is InstanceState.ENDED):
                    self.boot(step.node_id)
            case DrainBroker():
                broker = self.brokers[step.node_id]
                self.brokers[step.node_id] = replace(broker, is_cordoned=True, partitions_assigned=0)
            case UncordonBroker():
                self.brokers[step.node_id] = replace(self.brokers[step.node_id], is_cordoned=False)
            case StopBroker():
                self._stop(step)
            case ScaleTo():
                self.slots = [slot for slot in self.slots if slot.node_id <= step.count]
            case _:
                assert_never(step)

    def _grant(self, step: GrantRescue) -> None:
        node_id = step.key.node_id
        broker = self.brokers[node_id]
        if broker.broker_epoch != step.key.broker_epoch or broker.rescue == step.key.rescue:
            return
        if node_id in self.truly_alive:
            self.harmed.append(step)
        self.epoch += 1
        self.brokers[node_id] = replace(broker, status=Status.RESCUING, broker_epoch=self.epoch, rescue=step.key.rescue)

    def _create(self, step: CreateAdopter) -> None:
        same = [
            each for each in self.adopters.values()
            if each.granted_epoch == step.granted_epoch and each.attempt == step.attempt
        ]  # fmt: skip
        if same:
            return
        self.uid += 1
        uid = f"a{self.uid}"
        self.adopters[uid] = Adopter(
            key=step.key,
            uid=uid,
            granted_epoch=step.granted_epoch,
            beside=step.beside,
            host=f"h{step.beside}",
            state=AdopterState.PENDING,
            since=self.now,
            attempt=step.attempt,
            is_placed=True,
        )

    def _stop(self, step: StopBroker) -> None:
        instance = self.instances[step.node_id]
        if instance.uid != step.uid or instance.state is not InstanceState.RUNNING:
            return
        self.kill(step.node_id)
        self.brokers[step.node_id] = replace(self.brokers[step.node_id], status=Status.STOPPED, partitions_open=0)


__all__ = ["REVISION", "ClusterTwin"]
