"""How many brokers there are, and what their pods are given."""

from typing import Annotated

from pydantic import Field

from automq_operator.spec.parts import REPLICAS_MAX, FreeForm, ObjectName, Part, ruled


class ServiceAccount(Part):
    """The brokers' ServiceAccount. They get no API token by it; cloud providers know them by it (IRSA)."""

    annotations: Annotated[dict[str, str], Field(max_length=50)] = {}
    """For example eks.amazonaws.com/role-arn."""


class Template(Part):
    """What is added to the brokers' pods. A change rolls the brokers, one at a time."""

    labels: Annotated[dict[str, str], Field(max_length=50)] = {}
    """Labels of the pods; those of the operator come after."""
    annotations: Annotated[dict[str, str], Field(max_length=50)] = {}
    """Annotations of the pods."""
    env: Annotated[list[FreeForm], Field(max_length=100)] = []
    """Environment of the broker's container, as in a pod."""
    volumes: Annotated[list[FreeForm], Field(max_length=50)] = []
    """Volumes of the pod, as in a pod; names that begin with automq- are the operator's."""
    volume_mounts: Annotated[list[FreeForm], Field(max_length=50)] = []
    """Where the broker's container mounts them."""
    image_pull_secrets: Annotated[list[FreeForm], Field(max_length=20)] = []
    """As in a pod."""
    node_selector: Annotated[dict[str, str], Field(max_length=50)] = {}
    """As in a pod; adopters follow it too."""
    tolerations: Annotated[list[FreeForm], Field(max_length=50)] = []
    """As in a pod; adopters follow them too."""
    affinity: FreeForm | None = None
    """As in a pod. Unset: brokers of one cluster prefer different nodes. Zones are required besides in any case."""
    topology_spread_constraints: Annotated[list[FreeForm], Field(max_length=20)] = []
    """As in a pod."""
    priority_class_name: ObjectName | None = None
    """As in a pod."""
    service_account: ServiceAccount = ServiceAccount()
    """Annotations of the ServiceAccount that the operator makes for the brokers."""


class Brokers(Part):
    """How many brokers, and what they are given."""

    replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] = 3
    """How many brokers are wanted; kubectl scale and an autoscaler write it. In mode Watermark it is where the
    cluster starts, and status.scaling.desired is what is wanted."""
    resources: FreeForm = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    """Requests and limits of the broker's container."""
    config: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=200)] = {}
    """Settings of every broker by their names in docs/configuration.md. Those that change at any time take effect at once;
    a change of the others rolls the brokers."""
    template: Template = Template()
    """What is added to the pods."""
    paused: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Node ids that the operator leaves alone while somebody works on them: they are not renewed, emptied, stopped or
    stood in for. While one of them is not well, no other broker is renewed either."""

    model_config = ruled(
        (
            "!has(self.config) || self.config.all(k, !(k in ['node.id', 'broker.id', 'broker.rack', 'listeners', "
            "'advertised.listeners', 'listener.security.protocol.map', 'inter.broker.listener.name', "
            "'automq.inter.broker.secret.file', 'automq.admin.token.file', 'admin.listener', 's3.data.buckets', "
            "'s3.wal.path', 's3.wal.capacity', 's3.wal.iops', 's3.wal.bandwidth', 'automq.data.dir', "
            "'automq.accept.wal.loss']))",
            "config holds a setting that the operator itself gives to brokers; other fields of the spec decide it",
        ),
    )


__all__ = ["Brokers", "ServiceAccount", "Template"]
