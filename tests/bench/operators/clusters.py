"""Clusters that are as they are to be: each grew by itself, by the real operator over the twins, and all lie in one API server."""

import time

from automq_operator import kube
from automq_operator.kube import Object
from twins.kube_api import KubeTwin
from twins.kube_world import S3, Brokers, KubeWorld

NAMESPACE = "shop"
_TURNS_MAX = 120
_IDS_PER_CLUSTER = 100_000
_ZONES = ("a", "b", "c")


def settled(number: int, brokers: int) -> KubeWorld:
    """One cluster on machines of its own; uids and versions are those of no other."""
    world = KubeWorld.of(0, now=time.time() - 3600.0)
    world.api._uid = world.api._version = (number + 1) * _IDS_PER_CLUSTER
    for place in range(brokers):
        world.controllers.add_node(f"n{number * brokers + place + 1}", _ZONES[place % len(_ZONES)])
    name = f"orders-{number:02d}"
    world.create(name, brokers={"replicas": brokers}, storage={"s3": S3 | {"prefix": name}})
    keeper = world.operator(name)
    for _ in range(_TURNS_MAX):
        before = len(world.api.writes)
        world.run(keeper, 1)
        if len(world.api.writes) == before and _is_ready(world.api.objects[kube.CLUSTER.kind, NAMESPACE, name]):
            return world
    raise AssertionError(f"{name} does not settle: {world.api.writes[-5:]}")


def _is_ready(resource: Object) -> bool:
    conditions = resource.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def joined(worlds: list[KubeWorld], api: KubeTwin) -> dict[str, Brokers]:
    """Put everything into one API server; brokers by the address of their pods, which is made here."""
    found = {}
    for number, world in enumerate(worlds):
        asked = Brokers(world, tuple(sorted(world.brokers)))
        for node_id in asked.node_ids:
            pod = world.pod(node_id)
            assert pod is not None
            pod["status"]["podIP"] = f"127.1.{number}.{node_id + 1}"
            found[pod["status"]["podIP"]] = asked
        api.objects |= world.api.objects
    api._version = api._uid = (len(worlds) + 1) * _IDS_PER_CLUSTER
    return found


__all__ = ["NAMESPACE", "joined", "settled"]
