"""The wires: a bridge in the control plane's network namespace, a cable to each node, one to the machine itself."""

import subprocess
from pathlib import Path

from e2e.cluster.layout import (
    BRIDGE,
    CONTROL_PLANE_IP,
    CONTROL_PLANE_NAMESPACE,
    MACHINE_IP,
    MACHINE_LINK,
    NODES,
    POD_NETWORK,
    Node,
)


def ip(command: str, *, namespace: str | None = None) -> None:
    """`ip`, in a network namespace if one is named. Raises CalledProcessError."""
    inside = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *inside, *command.split()], check=True)


def exists(namespace: str) -> bool:
    """Whether there is a network namespace of that name."""
    return Path("/run/netns", namespace).exists()


def lay_control_plane() -> None:
    """Namespace, bridge, routes to all pods, and the machine's own cable; nothing when it is there."""
    namespace = CONTROL_PLANE_NAMESPACE
    if exists(namespace):
        return
    ip(f"netns add {namespace}")
    ip("link set lo up", namespace=namespace)
    ip(f"link add {BRIDGE} type bridge", namespace=namespace)
    ip(f"addr add {CONTROL_PLANE_IP}/24 dev {BRIDGE}", namespace=namespace)
    ip(f"link set {BRIDGE} up", namespace=namespace)
    _forward_packets(namespace)
    for node in NODES:
        ip(f"route add {node.pod_network} via {node.ip}", namespace=namespace)
    ip(f"link add {MACHINE_LINK} type veth peer name machine netns {namespace}")
    ip(f"link set machine master {BRIDGE} up", namespace=namespace)
    ip(f"addr add {MACHINE_IP}/24 dev {MACHINE_LINK}")
    ip(f"link set {MACHINE_LINK} up")
    ip(f"route add {POD_NETWORK} via {CONTROL_PLANE_IP}")


def lay_node(node: Node) -> None:
    """The node's namespace, its cable and its routes to the other nodes' pods; nothing when it is there."""
    namespace = node.namespace
    if exists(namespace):
        return
    ip(f"netns add {namespace}")
    ip(f"link add {node.link} type veth peer name eth0 netns {namespace}", namespace=CONTROL_PLANE_NAMESPACE)
    ip(f"link set {node.link} master {BRIDGE} up", namespace=CONTROL_PLANE_NAMESPACE)
    ip("link set lo up", namespace=namespace)
    ip(f"addr add {node.ip}/24 dev eth0", namespace=namespace)
    ip("link set eth0 up", namespace=namespace)
    ip(f"route add default via {CONTROL_PLANE_IP}", namespace=namespace)
    for other in NODES:
        if other != node:
            ip(f"route add {other.pod_network} via {other.ip}", namespace=namespace)
    _forward_packets(namespace)


def plug(node: Node, *, is_in: bool) -> None:
    """Pull the node's cable, or put it back: a partition of exactly this node from everybody else."""
    ip(f"link set {node.link} {'up' if is_in else 'down'}", namespace=CONTROL_PLANE_NAMESPACE)


def remove(namespace: str) -> None:
    """The namespace with all that is in it; the far ends of its cables go with it."""
    if exists(namespace):
        ip(f"netns del {namespace}")


def _forward_packets(namespace: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
