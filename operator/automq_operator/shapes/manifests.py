"""Everything that a cluster consists of, in the order in which it is applied: what pods need comes before them."""

from collections.abc import Mapping
from dataclasses import dataclass

from automq_operator import names
from automq_operator.shapes import brokers, certificates, config, guards, services
from automq_operator.shapes.cluster import Cluster, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What of a zone's StatefulSet is to stay as it is."""

    strategy: Manifest | None = None
    claim_size: str | None = None


def manifests(cluster: Cluster, existing: Mapping[str, Existing] | None = None) -> list[Manifest]:
    """All but the Secret, whose content is made by chance, once. `existing` is by zone."""
    known = existing or {}
    found = [
        guards.service_account(cluster),
        config.config_map(cluster),
        *services.services(cluster),
        *guards.network_policies(cluster),
        guards.disruption_budget(cluster),
        *(each for each in (certificates.certificate(cluster), certificates.authorities(cluster)) if each),
        *([guards.pod_monitor(cluster)] if cluster.installation.has_pod_monitors else []),
    ]
    for zone in cluster.zones:
        kept = known.get(zone.name, Existing())
        found.append(brokers.statefulset(cluster, zone, strategy=kept.strategy, claim_size=kept.claim_size))
    return found


def internal_secret(cluster: Cluster, secret: str, token: str) -> Manifest:
    """What brokers prove to each other, and the admin API's token: made once, never written again."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": cluster.metadata(names.internal_secret(cluster.name)),
        "type": "Opaque",
        "stringData": {names.SECRET_KEY: secret, names.TOKEN_KEY: token},
    }


__all__ = ["Existing", "internal_secret", "manifests"]
