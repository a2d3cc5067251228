"""An AutoMQCluster on a Kubernetes in memory: API server, controllers, brokers that follow their pods, and operators.

`harmed` collects what must never happen: a rescue of a broker that lived, a pod or volume taken from one that did.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid5

from automq_broker.contract import admin
from automq_broker.contract.dynamic_configs import DYNAMIC_CONFIGS
from automq_operator import kube, names
from automq_operator.broker_api import Figures, Metadata, NoAnswerError, RefusedError
from automq_operator.kube import Object
from automq_operator.observe import pods
from automq_operator.observe.look import Polled, Shared, Views
from automq_operator.observe.machines import MachineState, ProviderError
from automq_operator.platforms.kubernetes.keeper import Keeper
from automq_operator.platforms.kubernetes.platform import GoneError, KubernetesPlatform
from automq_operator.shapes.cluster import Installation
from twins.kube_api import KubeTwin
from twins.kube_controllers import Controllers

A = TypeVar("A", bound=admin.Answer)
_VOLUMES = UUID("5d0b3f5e-0000-4000-8000-000000000000")
_PER_BROKER = 4
S3 = {"bucket": "orders-kafka", "region": "eu-central-1"}


@dataclass(slots=True)
class Node:
    """A broker as the metadata has it."""

    status: admin.BrokerStatus
    epoch: int
    open: int = 0
    assigned: int = 0
    cordoned: bool = False
    clean: bool = False
    rescue: UUID | None = None
    process: str = ""
    """Uid of the pod that it registered from."""


@dataclass(slots=True)
class KubeWorld:
    """`orders` in namespace `shop`, nodes n1, n2, ... over the zones round robin."""

    api: KubeTwin
    controllers: Controllers
    brokers: dict[int, Node] = field(default_factory=dict)
    epoch: int = 0
    harmed: list[str] = field(default_factory=list)
    configs: dict[str, str] | None = field(default_factory=dict)
    """Dynamic configs of all brokers; None: brokers that cannot tell."""
    refuses: str = ""
    """A name that brokers take no value for."""
    is_bucket_up: bool = True
    traffic: float = 0.0
    """Bytes per second of every broker, in and out."""
    is_provider_up: bool = True
    asked: list[str] = field(default_factory=list)
    configured: list[str] = field(default_factory=list)
    """Changes of `configs` that were asked for."""
    terminated: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, nodes: int = 4, zones: Sequence[str] = ("a",), **changes: Any) -> "KubeWorld":
        """No resource yet."""
        api = KubeTwin(**changes)
        world = cls(api, Controllers(api))
        for number in range(nodes):
            world.controllers.add_node(f"n{number + 1}", zones[number % len(zones)])
        api.before_write = world._watch
        return world

    def create(self, name: str = "orders", **spec: Any) -> Object:
        """As kubectl apply does."""
        return self.api.put(
            {
                "apiVersion": kube.CLUSTER.api_version,
                "kind": kube.CLUSTER.kind,
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"storage": {"s3": S3}} | spec,
            }
        )

    async def state(self, machine: str, region: str | None, volume: str) -> MachineState:
        """As a provider: what it really is, unless it does not answer."""
        if not self.is_provider_up:
            raise ProviderError("UnauthorizedOperation")
        self.asked.append(machine)
        name = f"n{machine.rpartition('/i-')[2]}"
        return MachineState.STOPPED if name in self.controllers.dead else MachineState.ALIVE

    async def terminate(self, machine: str, region: str | None) -> None:
        """As a provider."""
        name = f"n{machine.rpartition('/i-')[2]}"
        if name not in self.controllers.dead:
            self.harmed.append(f"termination of {name}, which lives")
        self.terminated.append(name)

    def change(self, **spec: Any) -> None:
        """As kubectl apply does."""
        resource = asyncio.run(self.api.get(kube.CLUSTER, "shop", "orders"))
        resource["spec"] |= spec
        self.api.put(resource)

    @property
    def resource(self) -> Object:
        """The resource as it is stored."""
        return self.api.objects[kube.CLUSTER.kind, "shop", "orders"]

    @property
    def status(self) -> Object:
        """Its status."""
        found: Object = self.resource.get("status", {})
        return found

    def condition(self, kind: str) -> Object:
        """One condition; {} if it is not there."""
        return next((each for each in self.status.get("conditions", ()) if each["type"] == kind), {})

    def operator(
        self, name: str = "orders", views: Views | None = None, dynamic: frozenset[str] = DYNAMIC_CONFIGS
    ) -> Keeper:
        """A fresh operator, which remembers nothing; it lists each time unless it has views."""
        clock = lambda: self.api.now  # noqa: E731
        platform = KubernetesPlatform(
            api=self.api,
            shared=Shared(self.api, clock, views or Polled(self.api, clock, ())),
            namespace="shop",
            name=name,
            installation=Installation(image_repository="automq/broker", version="0.1.0", dynamic_configs=dynamic),
            connect=lambda addresses, _: Brokers(self, tuple(addresses)),
            now=clock,
            provider=self,
        )
        return Keeper(platform, self.api, now=clock, interval_s=10.0)

    def run(self, keeper: Keeper, turns: int, *, seconds: float = 2.0) -> None:
        """Turns of the operator, and what goes on by itself between them."""
        asyncio.run(self.go(keeper, turns, seconds=seconds))

    async def go(self, keeper: Keeper, turns: int, *, seconds: float = 2.0) -> None:
        """The same for an operator that watches: all within one loop."""
        for _ in range(turns):
            await self.api.announce()
            try:
                await keeper.turn()
            except GoneError:
                return
            self.pass_time(seconds)

    def settle(self, keeper: Keeper, turns: int = 60) -> None:
        """Until a turn changes nothing; fails if that never comes."""
        for _ in range(turns):
            before = len(self.api.writes)
            self.run(keeper, 1)
            if len(self.api.writes) == before and self.condition("Ready").get("status") == "True":
                return
        raise AssertionError(f"not settled: {self.status}, last writes {self.api.writes[-8:]}")

    def pass_time(self, seconds: float = 2.0) -> None:
        """Controllers, then brokers and adopters."""
        self.api.now += seconds
        self.controllers.step()
        self._follow()

    def pod(self, node_id: int) -> Object | None:
        """A broker's pod."""
        return next((each for each in self.api.of("Pod") if pods.node_id_of(each) == node_id), None)

    def adopters(self) -> list[Object]:
        """All adopters' pods."""
        return [each for each in self.api.of("Pod") if names.RECOVERY in each["metadata"].get("annotations", {})]

    # --- brokers

    def lives(self, node_id: int) -> bool:
        """Whether its process runs, whoever can see it."""
        pod = self.pod(node_id)
        return pod is not None and "running" in _state(pod) and pod["spec"]["nodeName"] not in self.controllers.dead

    def _follow(self) -> None:
        running = {node: each for each in self.api.of("Pod") if (node := pods.node_id_of(each)) is not None}
        for node_id, pod in running.items():
            if self.lives(node_id):
                self._live(node_id, pod)
        for node_id, broker in self.brokers.items():
            pod = running.get(node_id)
            is_heard = self.lives(node_id) and pod["spec"]["nodeName"] not in self.controllers.frozen
            if broker.status in (admin.BrokerStatus.ACTIVE, admin.BrokerStatus.RECOVERING) and not is_heard:
                self._end(node_id, broker, pod)
        for adopter in self.adopters():
            if "running" in _state(adopter):
                self._drain(adopter)
        self._spread()

    def _live(self, node_id: int, pod: Object) -> None:
        broker = self.brokers.setdefault(node_id, Node(admin.BrokerStatus.STOPPED, 0))
        if broker.process != pod["metadata"]["uid"] or broker.status is admin.BrokerStatus.STOPPED:
            self.epoch += 1
            broker.status, broker.epoch, broker.rescue = admin.BrokerStatus.RECOVERING, self.epoch, None
            broker.process, broker.clean = pod["metadata"]["uid"], False
        elif (
            broker.status in (admin.BrokerStatus.RECOVERING, admin.BrokerStatus.FENCED)
            and pod["spec"]["nodeName"] not in self.controllers.frozen
        ):
            broker.status = admin.BrokerStatus.ACTIVE

    def _end(self, node_id: int, broker: Node, pod: Object | None) -> None:
        """An orderly stop empties the log and gives its partitions away; anything else leaves them open."""
        code = _state(pod).get("terminated", {}).get("exitCode") if pod else 0
        node = pod["spec"].get("nodeName") if pod else None
        if code == 0 and node not in self.controllers.dead | self.controllers.frozen:
            broker.status, broker.clean, broker.open, broker.assigned = admin.BrokerStatus.STOPPED, True, 0, 0
        else:
            broker.status = admin.BrokerStatus.FENCED

    def _drain(self, adopter: Object) -> None:
        key, about = pods.read_about(adopter)
        broker = self.brokers[key.node_id]
        if broker.epoch == about["grantedEpoch"] and broker.status is admin.BrokerStatus.RESCUING:
            broker.open, broker.assigned, broker.clean = 0, 0, True
            broker.status = admin.BrokerStatus.STOPPED
            self.controllers.finish(adopter, 0)
        else:
            self.controllers.finish(adopter, 4)

    def _spread(self) -> None:
        for broker in self.brokers.values():
            if broker.status is admin.BrokerStatus.ACTIVE:
                broker.open = broker.assigned = 0 if broker.cordoned else _PER_BROKER

    def _watch(self, verb: str, kind: kube.Kind, name: str) -> None:
        """A pod or attachment that is deleted while its broker lives was taken from the living."""
        if verb != "delete" or kind not in (kube.POD, kube.ATTACHMENT, kube.CLAIM):
            return
        for node_id in self.brokers:
            pod = self.pod(node_id)
            if pod is None or not self.lives(node_id):
                continue
            claim = f"wal-{pod['metadata']['name']}"
            bound = self.api.objects.get(("PersistentVolumeClaim", "shop", claim), {"spec": {}})
            volume = bound["spec"].get("volumeName", "")
            if name in (pod["metadata"]["name"], claim, f"csi-{volume}-{pod['spec']['nodeName']}"):
                self.harmed.append(f"{verb} {kind.kind} {name}")


@dataclass(slots=True)
class Brokers:
    """Satisfies act.hands.Brokers for those at these addresses."""

    world: KubeWorld
    node_ids: tuple[int, ...]

    def _answering(self, node_ids: Sequence[int]) -> list[int]:
        found = []
        for node_id in node_ids:
            pod = self.world.pod(node_id)
            broker = self.world.brokers.get(node_id)
            is_cut_off = pod is None or pod["spec"].get("nodeName") in self.world.controllers.frozen
            if broker is not None and self.world.lives(node_id) and not is_cut_off:
                found.append(node_id)
        return found

    async def metadata(self, node_ids: Sequence[int]) -> Metadata | None:
        """What any of them says."""
        answering = self._answering(node_ids)
        if not answering:
            return None
        brokers = self.world.brokers
        active = [each for each, broker in sorted(brokers.items()) if broker.status is admin.BrokerStatus.ACTIVE]
        cluster = admin.Cluster(
            cluster_id="kafka-1",
            answered_by=answering[0],
            controller=admin.Controller(node_id=active[0] if active else None, epoch=1),
            brokers={},
            topics=1,
            partitions=100,
            partitions_open=100,
            partitions_moving=0,
            recoveries=0,
            configs=self.world.configs,
        )
        return Metadata(cluster, tuple(_as_answer(each, broker) for each, broker in sorted(brokers.items())))

    async def figures(self, node_id: int) -> Figures | None:
        """Counters that grow with time."""
        if not self._answering([node_id]):
            return None
        moved = self.world.traffic * self.world.api.now
        return Figures(moved, moved, 0.0, 1.0)

    async def change(self, node_ids: Sequence[int], call: admin.Call, model: type[A], question: Any) -> A:
        """As the controller does it."""
        if not self._answering(node_ids):
            raise NoAnswerError("no broker answers")
        if call.name == "configs":
            return model(configs=self._configure(question))
        broker = self.world.brokers[question.node_id]
        match call.name:
            case "rescue":
                return self._rescue(broker, question)
            case "adopt-done":
                if broker.open or broker.epoch != question.broker_epoch:
                    raise RefusedError("partitions are open, or the epoch is another one")
                broker.status, broker.clean = admin.BrokerStatus.STOPPED, True
                return model(node_id=question.node_id, status=broker.status)
            case "drain":
                broker.cordoned = not question.is_cancelled
                if broker.cordoned:
                    broker.open = broker.assigned = 0
                return model(node_id=question.node_id, moves=0, partitions_left=broker.open, reason="")
            case _:
                raise AssertionError(call.name)

    def _configure(self, question: Any) -> dict[str, str]:
        if self.world.refuses in question.set:
            raise RefusedError(f"{self.world.refuses}: not an integer")
        kept = {key: value for key, value in (self.world.configs or {}).items() if key not in question.unset}
        self.world.configs = kept | question.set
        self.world.configured.append(f"set {sorted(question.set)} unset {sorted(question.unset)}")
        return self.world.configs

    def _rescue(self, broker: Node, question: Any) -> Any:
        if broker.rescue == question.rescue and broker.status is admin.BrokerStatus.RESCUING:
            return admin.RescueGranted(node_id=question.node_id, broker_epoch=broker.epoch)
        if broker.epoch != question.broker_epoch:
            raise RefusedError("the node is at another epoch")
        if self.world.lives(question.node_id):
            self.world.harmed.append(f"rescue of broker {question.node_id}, which lives")
        self.world.epoch += 1
        broker.epoch, broker.status, broker.rescue = self.world.epoch, admin.BrokerStatus.RESCUING, question.rescue
        return admin.RescueGranted(node_id=question.node_id, broker_epoch=broker.epoch)


def _as_answer(node_id: int, broker: Node) -> admin.Broker:
    return admin.Broker(
        node_id=node_id,
        status=broker.status,
        broker_epoch=broker.epoch,
        rack="",
        endpoints=(),
        volume_uuid=uuid5(_VOLUMES, str(node_id)),
        volume_handle="",
        is_clean=broker.clean,
        is_cordoned=broker.cordoned,
        partitions_assigned=broker.assigned,
        partitions_open=broker.open,
        rescue=broker.rescue,
    )


def _state(pod: Object) -> Object:
    found: Object = next(iter(pod["status"].get("containerStatuses") or ()), {}).get("state", {})
    return found
