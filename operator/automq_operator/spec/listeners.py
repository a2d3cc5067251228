"""Where clients connect."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import Part, ruled


class Advertised(Part):
    """Under which address clients outside reach each broker."""

    host_template: Annotated[str, Field(pattern=r"^[A-Za-z0-9.{}-]+$", max_length=253)] | None = None
    """Host name of a broker; {nodeId} and {zone} are replaced. Unset: what the load balancer reports."""
    port_base: Annotated[int, Field(ge=1, le=65000)] | None = None
    """The broker's port is this number plus its node id. Unset: the listener's port, or the Service's node port."""


class Listener(Part):
    """Where clients connect."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=12)]
    """Its name; in Kafka's settings it stands in upper case."""
    type: Literal["Internal", "LoadBalancer", "NodePort"] = "Internal"
    """Internal: inside the Kubernetes cluster. The others: besides, each broker has a Service of this type."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 9092
    """Port at the brokers and at the Services."""
    tls: bool = False
    """Whether it speaks TLS, with the certificate of security.tls."""
    client_authentication: Literal["None", "Tls"] = "None"
    """Tls: clients must show a certificate of the authority in ca.crt; its name becomes their principal."""
    advertised: Advertised = Advertised()
    """Under which address clients outside reach each broker."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=50)] = {}
    """Annotations of the brokers' Services; {nodeId} and {zone} are replaced in the values."""

    model_config = ruled(
        ("self.clientAuthentication == 'None' || self.tls", "clientAuthentication Tls needs tls: true"),
        (
            "self.type != 'NodePort' || (has(self.advertised) && has(self.advertised.hostTemplate))",
            "a NodePort listener needs advertised.hostTemplate: no Service reports the nodes' names",
        ),
        ("!(self.port in [9091, 9644])", "ports 9091 and 9644 belong to the brokers themselves"),
        ("!(self.name in ['internal', 'admin'])", "the names internal and admin belong to the brokers themselves"),
        (
            "!has(self.advertised) || !has(self.advertised.hostTemplate) || "
            "self.advertised.hostTemplate.contains('{nodeId}') || has(self.advertised.portBase) || "
            "self.type == 'NodePort'",
            "advertised.hostTemplate gives every broker the same address: add {nodeId} to it, or a portBase",
        ),
    )


__all__ = ["Advertised", "Listener"]
