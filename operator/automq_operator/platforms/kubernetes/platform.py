"""One AutoMQCluster: it is looked at, acted upon, and told about."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import replace

from automq_operator import kube, names
from automq_operator.act.hands import Brokers, Hands
from automq_operator.act.steps import carry_out
from automq_operator.broker_api import Metadata
from automq_operator.decide.values import Plan, Policy
from automq_operator.kube import ConflictError, KubeApi, NotFoundError, Object
from automq_operator.observe import frame, pods
from automq_operator.observe.look import Look, Shared, look
from automq_operator.observe.machines import Provider, Verdicts
from automq_operator.observe.objects import stale_objects, wanted_objects
from automq_operator.observe.rates import MBPS, Rates
from automq_operator.observe.world import suspects, world_of
from automq_operator.platforms.kubernetes.policy import policy_of
from automq_operator.report.status import is_worth_writing, status
from automq_operator.shapes.cluster import Cluster, Installation
from automq_operator.steps import Step
from automq_operator.world import InstanceState, Load, Memory, World

Connect = Callable[[Mapping[int, tuple[str, int]], str], Brokers]
"""Admin pages by node id, and the token, to the brokers behind them."""

_MINUTE_S = 60.0


class GoneError(Exception):
    """There is no such resource any more."""


class KubernetesPlatform:
    """Satisfies loop.Platform; `refresh` comes before each turn and `publish` after it."""

    def __init__(
        self,
        *,
        api: KubeApi,
        shared: Shared,
        namespace: str,
        name: str,
        installation: Installation,
        connect: Connect,
        now: Callable[[], float],
        provider: Provider | None = None,
    ) -> None:
        self._api = api
        self._shared = shared
        self._namespace = namespace
        self._name = name
        self._installation = installation
        self._connect = connect
        self._now = now
        self._provider = provider
        self._verdicts = Verdicts(provider) if provider is not None else None
        self._rates = Rates()
        self._samples: tuple[tuple[float, float], ...] = ()
        self._written_at = now()
        self._measured_at = now() - _MINUTE_S
        self._loads_seen: tuple[Load, ...] = ()
        self._hands: Hands | None = None
        self._metadata: Metadata | None = None
        self._resource: Object = {}

    @property
    def title(self) -> str:
        """The resource as people call it: "namespace/name"."""
        return f"{self._namespace}/{self._name}"

    @property
    def policy(self) -> Policy:
        """What the resource says about decisions, as of the last look."""
        return policy_of(self._known().cluster.spec)

    @property
    def is_measuring(self) -> bool:
        """Whether decisions depend on figures that only looking brings."""
        return self._known().cluster.spec.autoscaling.mode == "Watermark"

    @property
    def resource(self) -> Object:
        """The resource, as it was seen or written last."""
        return self._resource

    async def refresh(self) -> None:
        """Look. Raises GoneError, kube.KubeError, or observe.frame.UnreadableError."""
        seen = await look(self._api, self._shared, self._namespace, self._name, self._resource)
        if seen is None:
            raise GoneError(self.title)
        self._resource = seen.resource
        memory = frame.memory_of(seen.resource)
        seen = await self._with_proofs(seen, memory)
        memory = replace(memory, scaling=replace(memory.scaling, samples=self._samples))
        has_monitors = await self._shared.has_kind(kube.POD_MONITOR)
        cluster = frame.cluster_of(seen, replace(self._installation, has_pod_monitors=has_monitors), memory)
        brokers, answering = self._brokers(seen)
        self._metadata = await self._ask(brokers, answering, memory)
        if self._metadata is None:
            # The token may be another one than it was.
            self._shared.forget_secret(self._namespace, self._name)
        wanted = wanted_objects(seen, cluster)
        world = world_of(
            seen,
            cluster,
            memory=memory,
            stale=stale_objects(seen, cluster, wanted, self._now()),
            metadata=self._metadata,
            loads=await self._loads(seen, cluster, brokers, answering),
            now=self._now(),
        )
        self._hands = Hands(
            api=self._api,
            look=seen,
            cluster=cluster,
            world=world,
            wanted=wanted,
            brokers=brokers,
            answering=answering,
            provider=self._provider,
            now=self._now(),
        )

    async def _with_proofs(self, seen: Look, memory: Memory) -> Look:
        """Ask the provider about machines that are silent, where the resource says that there is one."""
        proof = frame.spec_of(seen.resource).failover.proof
        asked = suspects(seen, memory) if proof.cloud_api == "EC2" and seen.nodes is not None else {}
        if not asked or self._verdicts is None:
            return seen
        present = frozenset(each["metadata"]["name"] for each in seen.nodes or ())
        found = await self._verdicts.proofs(asked, present, proof.region, self._now())
        return replace(seen, proofs=found)

    async def _ask(self, brokers: Brokers, answering: tuple[int, ...], memory: Memory) -> Metadata | None:
        """What the controller says, while nothing goes on; else the newest of what all say."""
        seat = self._metadata.cluster.controller.node_id if self._metadata else None
        is_calm = all(each.is_done for each in memory.recoveries) and memory.rolling is None and not memory.drains
        if is_calm and seat in answering:
            found = await brokers.metadata((seat,))
            if found is not None and found.cluster.controller.node_id == seat:
                return found
        return await brokers.metadata(answering)

    def _brokers(self, seen: Look) -> tuple[Brokers, tuple[int, ...]]:
        addresses = {}
        for pod in seen.pods:
            node_id, address = pods.node_id_of(pod), pod.get("status", {}).get("podIP")
            found = pods.instance(pod, node_id, None) if node_id is not None else None
            if node_id is not None and address and found is not None and found.state is InstanceState.RUNNING:
                addresses[node_id] = (str(address), names.ADMIN_PORT)
        token = ((seen.secret or {}).get("data") or {}).get(names.TOKEN_KEY, "")
        return self._connect(addresses, base64.b64decode(token).decode()), tuple(sorted(addresses))

    async def _loads(
        self, seen: Look, cluster: Cluster, brokers: Brokers, answering: tuple[int, ...]
    ) -> tuple[Load, ...]:
        scaling = cluster.spec.autoscaling
        if scaling.mode != "Watermark" and self._now() - self._measured_at < _MINUTE_S:
            return self._loads_seen
        self._measured_at = self._now()
        given = scaling.network_baseline_mbps
        types = {
            each["metadata"]["name"]: each["metadata"].get("labels", {}).get(names.INSTANCE_TYPE, "")
            for each in seen.nodes or ()
        }
        by_node = {pods.node_id_of(each): each for each in seen.pods}
        found = []
        for node_id, figures in zip(answering, await asyncio.gather(*map(brokers.figures, answering)), strict=True):
            pod = by_node[node_id]
            if figures is not None:
                baseline = given or MBPS.get(types.get(pod["spec"].get("nodeName", ""), ""))
                uid = pod["metadata"]["uid"]
                found.append(self._rates.load(node_id, uid, figures, baseline, self._now()))
        self._loads_seen = tuple(each for each in found if each is not None)
        return self._loads_seen

    async def observe(self) -> World:
        """See loop.Platform: the last look."""
        return self._known().world

    async def remember(self, memory: Memory) -> None:
        """See loop.Platform. Samples stay in the process: after a restart a whole window is seen anew.

        Raises kube.ConflictError if the resource is not as it was seen: then nothing of the plan may be done.
        """
        self._samples = memory.scaling.samples
        before = frame.memory_of(self._resource)
        kept = replace(memory, scaling=replace(memory.scaling, samples=()))
        if kept == before or "status" not in self._resource:
            return
        value = frame.MEMORY.dump_python(kept, mode="json")
        await self._write([{"op": "add", "path": "/status/memory", "value": value}])

    async def act(self, step: Step) -> None:
        """See loop.Platform."""
        await carry_out(step, self._known())

    async def publish(self, planned: Plan, failures: dict[Step, str]) -> None:
        """Write the status if it says anything new; a resource that changed meanwhile gets it next time."""
        hands, now = self._known(), self._now()
        before = self._resource.get("status") or {}
        if "zones" not in before and not hands.world.held:
            return
        after = status(
            before,
            hands.cluster,
            hands.world,
            planned,
            failures,
            generation=int(self._resource["metadata"].get("generation", 0)),
            replicas=sum(int(each.get("status", {}).get("replicas", 0)) for each in hands.look.stateful_sets),
            cluster_id=self._metadata.cluster.cluster_id if self._metadata else "",
            memory=before.get("memory") or {},
            bases=frame.bases_of(self._resource, hands.cluster.spec),
            now=now,
        )
        is_minute_over = now - self._written_at >= _MINUTE_S
        if not is_worth_writing(before, after, is_minute_over=is_minute_over):
            return
        try:
            await self._write([{"op": "add", "path": "/status", "value": after}])
        except (ConflictError, NotFoundError):
            return
        self._written_at = now

    async def _write(self, changes: list[Object]) -> None:
        metadata = self._resource["metadata"]
        tests = [
            {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
            {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        ]
        self._resource = await self._api.patch(kube.CLUSTER, self._namespace, self._name, [*tests, *changes], "status")

    def _known(self) -> Hands:
        assert self._hands is not None, "refresh comes first"
        return self._hands


__all__ = ["Connect", "GoneError", "KubernetesPlatform"]
