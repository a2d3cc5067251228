"""`automq-operator plan`: what the operator would do now and why, without doing it."""

import asyncio
import time
from pathlib import Path
from typing import Any

from automq_broker.contract.dynamic_configs import DYNAMIC_CONFIGS
from pydantic import BaseModel

from automq_operator import kube, names
from automq_operator.decide.plan import plan
from automq_operator.decide.values import Plan, Policy
from automq_operator.observe import frame
from automq_operator.observe.look import Look, Polled, Shared
from automq_operator.observe.objects import stale_objects, wanted_objects
from automq_operator.observe.world import world_of
from automq_operator.platforms.kubernetes.client import connect
from automq_operator.platforms.kubernetes.platform import GoneError
from automq_operator.platforms.kubernetes.policy import policy_of
from automq_operator.report.lines import describe
from automq_operator.run import platform_of
from automq_operator.settings import Settings
from automq_operator.shapes.cluster import Installation
from automq_operator.world import Memory, World


class Dump(BaseModel):
    """A world at a time, as a file."""

    at: float
    world: World


def from_dump(resource: dict[str, Any], path: Path) -> list[str]:
    """For a world that was seen before. Raises pydantic.ValidationError or observe.frame.UnreadableError."""
    dump = Dump.model_validate_json(path.read_bytes())
    return lines(dump.world, plan(dump.world, dump.at, policy_of(frame.spec_of(resource))))


def from_nothing(resource: dict[str, Any], settings: Settings) -> list[str]:
    """For a resource that does not exist yet: what it would consist of."""
    metadata = {"namespace": "default", "uid": "", "finalizers": [names.FINALIZER]} | resource["metadata"]
    spec = frame.spec_of(resource)
    zones = [{"name": zone, "base": base} for zone, base in frame.bases_of(resource, spec).items()]
    seen = Look(resource=resource | {"metadata": metadata, "status": {"zones": zones}}, secret=None)
    installation = Installation(
        image_repository=settings.image_repository, version=settings.version, dynamic_configs=DYNAMIC_CONFIGS
    )
    cluster = frame.cluster_of(seen, installation, Memory())
    stale = stale_objects(seen, cluster, wanted_objects(seen, cluster), time.time())
    world = world_of(seen, cluster, memory=Memory(), stale=stale, metadata=None, loads=(), now=time.time())
    return ["the resource does not exist yet; once it does:", *lines(world, plan(world, time.time(), Policy()))]


def from_cluster(resource: dict[str, Any], settings: Settings) -> tuple[list[str], Dump | None]:
    """For the resource as it is in the cluster of the kubeconfig, and what was seen of it. Raises kube.KubeError."""
    return asyncio.run(_from_cluster(resource, settings))


async def _from_cluster(resource: dict[str, Any], settings: Settings) -> tuple[list[str], Dump | None]:
    api = connect()
    namespace, name = resource["metadata"].get("namespace", "default"), resource["metadata"]["name"]
    shared = Shared(api, time.monotonic, Polled(api, time.monotonic, settings.namespaces))
    platform = platform_of(settings, api, shared, namespace, name)
    try:
        await platform.refresh()
    except GoneError:
        return from_nothing(resource, settings), None
    dump = Dump(at=time.time(), world=await platform.observe())
    return lines(dump.world, plan(dump.world, dump.at, policy_of(frame.spec_of(resource)))), dump


def remaining_clusters(settings: Settings) -> list[str]:
    """All AutoMQClusters of the namespaces that the operator looks after. Raises kube.KubeError."""
    return asyncio.run(_remaining_clusters(settings, connect()))


async def _remaining_clusters(settings: Settings, api: kube.KubeApi) -> list[str]:
    try:
        lists = [await api.list_all(kube.CLUSTER, each) for each in settings.namespaces or ("",)]
    except kube.NotFoundError:
        return []
    return [f"{each['metadata']['namespace']}/{each['metadata']['name']}" for found in lists for each in found]


def lines(world: World, planned: Plan) -> list[str]:
    """A plan for people."""
    found = [] if world.is_metadata_known else ["no broker answers: what the metadata know is left out"]
    found += [f"{describe(each)}: {each.reason}" for each in planned.steps]
    found += [f"not now, {each.subject} ({each.gate}): {each.reason}" for each in planned.deferrals]
    under_way = [each for each in planned.memory.recoveries if not each.is_done]
    found += [f"recovery of broker {each.key.node_id}: {each.stage}: {each.reason}" for each in under_way]
    return found if planned.steps or planned.deferrals or under_way else [*found, "nothing to do"]


__all__ = ["Dump", "from_cluster", "from_dump", "from_nothing", "lines", "remaining_clusters"]
