"""One node's situation, put together from everything that the world says about it, and which recovery it belongs to."""

from dataclasses import dataclass

from automq_operator.decide.proof import is_usable, is_well, proof_of_death
from automq_operator.world import (
    Adopter,
    AdopterState,
    Broker,
    Instance,
    InstanceState,
    Proof,
    Recovery,
    RecoveryKey,
    Stage,
    Status,
    Volume,
    World,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A node. `adopter` is the one of the present rescue; `stale` are all others of this node."""

    world: World
    node_id: int
    zone: str
    is_wanted: bool
    broker: Broker | None
    instance: Instance | None
    volume: Volume | None
    proof: Proof | None
    recovery: Recovery | None
    """The one under way that is about this death."""
    key: RecoveryKey | None
    adopter: Adopter | None
    stale: tuple[Adopter, ...]

    @property
    def is_rescuing(self) -> bool:
        """Whether an adopter is to speak for it."""
        return self.broker is not None and self.broker.status is Status.RESCUING

    @property
    def has_open_partitions(self) -> bool:
        """Whether its log may hold what nobody else has (DESIGN 5a.12): not a flag, the streams decide."""
        return self.broker is not None and self.broker.partitions_open > 0

    @property
    def is_running(self) -> bool:
        """Whether a process or pod of it runs and answers."""
        return self.instance is not None and self.instance.state is InstanceState.RUNNING

    @property
    def holder(self) -> str | None:
        """Who has its volume."""
        return None if self.volume is None else self.volume.holder

    @property
    def is_held_by_the_dead(self) -> bool:
        """Whether its volume is still with the instance that is proven dead."""
        return self.proof is not None and self.instance is not None and self.holder == self.instance.uid

    @property
    def is_restarted_in_place(self) -> bool:
        """Whether it ended, and whatever runs it starts it again by itself, on its own volume."""
        return self.proof is not None and self.instance is not None and self.instance.restarts_in_place

    @property
    def is_failing(self) -> bool:
        """Whether it is dead, or nobody knows better."""
        return self.is_wanted and self.instance is not None and not is_well(self.world, self.instance)

    @property
    def failed_at(self) -> float:
        """When this failure was first seen."""
        since = self.instance.since if self.instance else 0.0
        return min(since, self.recovery.began_at) if self.recovery else since

    @property
    def adopters(self) -> tuple[Adopter, ...]:
        """All adopters of this node."""
        return tuple(each for each in self.world.adopters if each.key.node_id == self.node_id)


def case_of(world: World, node_id: int) -> Case:
    """Everything about one node."""
    broker, instance = world.broker(node_id), world.instance(node_id)
    slot = next((each for each in world.slots if each.node_id == node_id), None)
    volume = world.volume(node_id)
    zone = volume.zone if volume else slot.zone if slot else broker.zone if broker else ""
    recovery = _recovery_of(world, node_id, broker)
    key = _key_of(world, broker, recovery)
    adopters = [each for each in world.adopters if each.key.node_id == node_id]
    current = [each for each in adopters if _speaks_for(each, broker)]
    return Case(
        world=world,
        node_id=node_id,
        zone=zone,
        is_wanted=slot is not None,
        broker=broker,
        instance=instance,
        volume=volume,
        proof=proof_of_death(world, instance),
        recovery=recovery,
        key=key,
        adopter=current[0] if current else None,
        stale=tuple(each for each in adopters if each not in current[:1]) if world.is_metadata_known else (),
    )


def _speaks_for(adopter: Adopter, broker: Broker | None) -> bool:
    return broker is not None and broker.status is Status.RESCUING and adopter.granted_epoch == broker.broker_epoch


def _recovery_of(world: World, node_id: int, broker: Broker | None) -> Recovery | None:
    """The recovery under way of this node, unless the metadata shows a rescue that is not its own."""
    found = next((each for each in world.recoveries_under_way() if each.key.node_id == node_id), None)
    if found is None or broker is None:
        return found
    if broker.status is Status.RESCUING and broker.rescue not in (None, found.key.rescue):
        return None
    return found


def _key_of(world: World, broker: Broker | None, recovery: Recovery | None) -> RecoveryKey | None:
    """Which death this is. A rescue that nobody here remembers is taken up from its adopter, else begun anew."""
    if broker is None:
        return recovery.key if recovery else None
    if recovery is not None and broker.broker_epoch in (recovery.key.broker_epoch, recovery.granted_epoch):
        return recovery.key
    if broker.status is Status.RESCUING:
        if recovery is not None and broker.rescue == recovery.key.rescue:
            return recovery.key
        adopter = next((each for each in world.adopters if _speaks_for(each, broker)), None)
        if adopter is not None and adopter.key.node_id == broker.node_id:
            return adopter.key
    return RecoveryKey(node_id=broker.node_id, broker_epoch=broker.broker_epoch, volume=broker.volume)


def survivors(case: Case, busy: frozenset[int]) -> list[int]:
    """Brokers beside which an adopter of this volume may run, the least loaded first; `busy` have one already."""
    world = case.world
    found = []
    for broker in world.brokers:
        instance = world.instance(broker.node_id)
        if broker.node_id == case.node_id or broker.node_id in busy or broker.status is not Status.ACTIVE:
            continue
        if instance is None or not is_well(world, instance):
            continue
        host = world.host(instance.host)
        if is_usable(host) and host is not None and host.zone == case.zone:
            found.append((broker.partitions_open, broker.node_id))
    return [node_id for _, node_id in sorted(found)]


def is_without_machine(case: Case) -> bool:
    """The volume is free, and still the adopter has nowhere to run."""
    adopter = case.adopter
    is_waiting = adopter is not None and adopter.state is AdopterState.PENDING and not adopter.is_placed
    return is_waiting and case.volume is not None and case.holder is None


def is_at_work(adopter: Adopter | None, now: float, pending_max_s: float) -> bool:
    """Whether waiting for this adopter is waiting for something."""
    if adopter is None:
        return False
    if adopter.state is AdopterState.PENDING:
        return now - adopter.since < pending_max_s
    return adopter.state is AdopterState.RUNNING


def entered(recovery: Recovery | None, stage: Stage, now: float) -> tuple[tuple[Stage, float], ...]:
    """The recovery's history with this stage as the newest."""
    before = recovery.entered if recovery else ()
    if before and before[-1][0] is stage:
        return before
    return (*(each for each in before if each[0] is not stage), (stage, now))


__all__ = ["Case", "case_of", "entered", "is_at_work", "is_without_machine", "survivors"]
