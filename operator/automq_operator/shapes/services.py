"""Services: one that names every broker, one to begin with, and one per broker and listener for clients outside."""

from automq_operator import names
from automq_operator.shapes.cluster import Cluster, Manifest, filled
from automq_operator.spec import Listener


def services(cluster: Cluster) -> list[Manifest]:
    """All of them."""
    found = [_headless(cluster), _bootstrap(cluster)]
    for listener in cluster.spec.listeners:
        if listener.type != "Internal":
            found.append(_outer_bootstrap(cluster, listener))
            found += [_of_broker(cluster, listener, node_id) for node_id in cluster.node_ids()]
    return found


def bootstrap(cluster: Cluster, listener: Listener) -> str:
    """bootstrap.servers of a listener inside the Kubernetes cluster."""
    return f"{names.bootstrap_service(cluster.name)}.{cluster.namespace}.svc:{listener.port}"


def _headless(cluster: Cluster) -> Manifest:
    ports = [*_ports(cluster), _port("internal", names.INTERNAL_PORT), _port("admin", names.ADMIN_PORT)]
    # A broker that is not ready yet is found too: the others speak to it before clients may, and adopters leave it alone.
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": names.selector(cluster.name),
        "ports": ports,
    }
    return _service(cluster, names.headless_service(cluster.name), spec)


def _bootstrap(cluster: Cluster) -> Manifest:
    spec = {"type": "ClusterIP", "selector": names.selector(cluster.name), "ports": _ports(cluster)}
    return _service(cluster, names.bootstrap_service(cluster.name), spec)


def _outer_bootstrap(cluster: Cluster, listener: Listener) -> Manifest:
    ports = [_port(listener.name, listener.port)]
    spec = {"type": listener.type, "selector": names.selector(cluster.name), "ports": ports}
    service = _service(cluster, names.outer_bootstrap_service(cluster.name, listener.name), spec)
    given = {key: filled(value, "bootstrap", "") for key, value in listener.annotations.items()}
    service["metadata"] |= {"annotations": given} if given else {}
    return service


def _of_broker(cluster: Cluster, listener: Listener, node_id: int) -> Manifest:
    zone, name = cluster.zone_of(node_id), names.broker_service(cluster.name, listener.name, node_id)
    spec = {
        "type": listener.type,
        "selector": names.selector(cluster.name) | {names.POD_NAME: cluster.pod(node_id)},
        "ports": [_port(listener.name, listener.port)],
        "publishNotReadyAddresses": True,
    }
    service = _service(cluster, name, spec)
    service["metadata"]["labels"] |= {names.NODE_LABEL: str(node_id)}
    given = {key: filled(value, node_id, zone) for key, value in listener.annotations.items()}
    service["metadata"] |= {"annotations": given} if given else {}
    return service


def _service(cluster: Cluster, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": "Service", "metadata": cluster.metadata(name), "spec": spec}


def _ports(cluster: Cluster) -> list[Manifest]:
    return [_port(each.name, each.port) for each in cluster.spec.listeners]


def _port(name: str, port: int) -> Manifest:
    return {"name": name, "port": port, "targetPort": port, "protocol": "TCP"}


__all__ = ["bootstrap", "services"]
