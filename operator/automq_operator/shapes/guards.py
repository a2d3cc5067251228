"""What protects brokers: how many may be evicted, who may connect, which account they have."""

from automq_operator import names
from automq_operator.shapes.cluster import Cluster, Manifest


def disruption_budget(cluster: Cluster) -> Manifest:
    """One broker at a time; one that is not well is never in the way of a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": cluster.metadata(cluster.name),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(cluster.name)},
        },
    }


def service_account(cluster: Cluster) -> Manifest:
    """No token by itself; cloud providers add what its annotations ask for."""
    metadata = cluster.metadata(names.service_account(cluster.name))
    annotations = cluster.spec.brokers.template.service_account.annotations
    metadata |= {"annotations": annotations} if annotations else {}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def network_policies(cluster: Cluster) -> list[Manifest]:
    """Clients reach the listeners, brokers each other, pods of any namespace the admin page (changes need its token)."""
    own = [{"podSelector": {"matchLabels": names.selector(cluster.name)}}]
    own.append({"podSelector": {"matchLabels": names.adopter_selector(cluster.name)}})
    brokers = [
        {"ports": [_port(each.port) for each in cluster.spec.listeners]},
        {"from": own, "ports": [_port(names.INTERNAL_PORT)]},
        {"from": [{"namespaceSelector": {}}], "ports": [_port(names.ADMIN_PORT)]},
    ]
    return [
        _policy(cluster, names.CONTAINER, names.selector(cluster.name), brokers),
        _policy(cluster, names.ADOPTER, names.adopter_selector(cluster.name), []),
    ]


def _policy(cluster: Cluster, what: str, chosen: dict[str, str], ingress: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": cluster.metadata(f"{cluster.name}-{what}"),
        "spec": {
            "podSelector": {"matchLabels": chosen},
            "policyTypes": ["Ingress"],
            **({"ingress": ingress} if ingress else {}),
        },
    }


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}


def pod_monitor(cluster: Cluster) -> Manifest:
    """Prometheus' operator scrapes each broker by it."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": cluster.metadata(cluster.name),
        "spec": {
            "selector": {"matchLabels": names.selector(cluster.name)},
            "podMetricsEndpoints": [{"port": "admin", "path": "/metrics"}],
        },
    }


__all__ = ["disruption_budget", "network_policies", "pod_monitor", "service_account"]
