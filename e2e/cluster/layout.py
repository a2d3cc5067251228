"""The drawing of the local cluster: its nodes, zones and addresses.

All networks are private to network namespaces of our own. The machine itself holds one address on the nodes' network, so
that kubectl and tests reach the API server and pods without entering anything.
"""

from dataclasses import dataclass
from typing import Final

REGION: Final = "eu-central-1"
ZONES: Final = (f"{REGION}a", f"{REGION}b")
INSTANCE_TYPE: Final = "m6i.large"
"""What the nodes' labels say that they are; EC2 says the same."""

NETWORK: Final = "10.77.0"
"""The nodes' network, a /24."""
CONTROL_PLANE_IP: Final = f"{NETWORK}.1"
MACHINE_IP: Final = f"{NETWORK}.254"
API_SERVER: Final = f"https://{CONTROL_PLANE_IP}:6443"

POD_NETWORK: Final = "10.78.0.0/16"
SERVICE_NETWORK: Final = "10.79.0.0/24"
API_SERVICE_IP: Final = "10.79.0.1"
DNS_SERVICE_IP: Final = "10.79.0.10"

CONTROL_PLANE_NAMESPACE: Final = "amq-e2e"
BRIDGE: Final = "amq0"
MACHINE_LINK: Final = "amq-e2e"
"""The machine's end of the wire to the bridge; it goes with the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine of the cluster. `index` gives it its addresses."""

    name: str
    zone: str
    index: int

    @property
    def ip(self) -> str:
        """On the nodes' network."""
        return f"{NETWORK}.{10 + self.index}"

    @property
    def pod_network(self) -> str:
        """The /24 of its pods."""
        return f"10.78.{self.index}.0/24"

    @property
    def namespace(self) -> str:
        """Its network namespace, and the name of its control groups."""
        return f"{CONTROL_PLANE_NAMESPACE}-{self.name}"

    @property
    def link(self) -> str:
        """Its cable: the end that is plugged into the bridge."""
        return f"amq-{self.name}"


NODES: Final = (
    Node(name="a1", zone=ZONES[0], index=1),
    Node(name="a2", zone=ZONES[0], index=2),
    Node(name="b1", zone=ZONES[1], index=3),
    Node(name="b2", zone=ZONES[1], index=4),
)


def node(name: str) -> Node:
    """The node of that name. Raises KeyError with the names that there are."""
    for one in NODES:
        if one.name == name:
            return one
    raise KeyError(f"no node {name!r}; there are {', '.join(one.name for one in NODES)}")
