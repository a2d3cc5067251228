"""What the steps are carried out with: the API server, what was seen last, and the brokers that answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from automq_broker.contract import admin

from automq_operator.broker_api import Figures, Metadata
from automq_operator.kube import KubeApi, Object
from automq_operator.observe.look import Look
from automq_operator.observe.machines import Provider
from automq_operator.shapes.cluster import Cluster, Manifest
from automq_operator.world import World

A = TypeVar("A", bound=admin.Answer)


class Brokers(Protocol):
    """What brokers are asked; broker_api.BrokerApi is the one that does it."""

    async def metadata(self, node_ids: Sequence[int]) -> Metadata | None:
        """The newest answer of these brokers; None if none of them gives one."""

    async def figures(self, node_id: int) -> Figures | None:
        """What it counts; None if it does not answer."""

    async def change(self, node_ids: Sequence[int], call: admin.Call, model: type[A], question: admin.Question) -> A:
        """Ask the first of these brokers that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Belongs to one turn."""

    api: KubeApi
    look: Look
    cluster: Cluster
    world: World
    wanted: list[Manifest]
    brokers: Brokers
    answering: tuple[int, ...]
    provider: Provider | None = None
    now: float

    def pod(self, uid: str) -> Object | None:
        """The pod with this uid, as it was seen."""
        return next((each for each in self.look.pods if each["metadata"]["uid"] == uid), None)

    def stateful_set(self, zone: str) -> Object | None:
        """The zone's brokers."""
        name = self.cluster.stateful_set(zone)
        return next((each for each in self.look.stateful_sets if each["metadata"]["name"] == name), None)


__all__ = ["Brokers", "Hands"]
