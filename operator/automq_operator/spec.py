"""The AutoMQCluster resource as users write it: the source of crds/, of the chart's copy and of the reference page.

Types, bounds, defaults and texts stand in the models; what spans several fields stands beside them as CEL rules, which
the API server checks before anything is stored. A rule with `oldSelf` compares with what was stored before. Free forms
of Kubernetes' own (affinity, tolerations, ...) are passed on as they are and checked by the API server with the pods.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP: Final = "automq.io"
VERSION: Final = "v1alpha1"
KIND: Final = "AutoMQCluster"
PLURAL: Final = "automqclusters"

REPLICAS_MAX: Final = 300
ZONES_MAX: Final = 9
RESERVED_PORTS: Final = (9091, 9644)
"""Inter-broker listener and admin page of every broker."""


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


def _ruled(*rules: tuple[str, str]) -> ConfigDict:
    return ConfigDict(json_schema_extra=_rules(*rules))


FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""An object of Kubernetes' own API, as in a pod template."""

_KEY: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

_BUCKET: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$"
_PREFIX: Final = r"^([A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*)?$"
_ENDPOINT: Final = r"^https?://[^\s?#]+$"

ObjectName = Annotated[str, Field(pattern=_NAME, max_length=253)]
Zone = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=30)]


class SecretKey(_Part):
    """A key of a Secret in the resource's namespace."""

    name: ObjectName
    """The Secret."""
    key: Annotated[str, Field(pattern=_KEY, max_length=253)] = "credentials"
    """Its key."""


class ServiceAccount(_Part):
    """The brokers' ServiceAccount. They get no API token by it; cloud providers know them by it (IRSA)."""

    annotations: Annotated[dict[str, str], Field(max_length=50)] = {}
    """For example eks.amazonaws.com/role-arn."""


class Template(_Part):
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


class Brokers(_Part):
    """How many brokers, and what they are given."""

    replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] = 3
    """How many brokers are wanted; kubectl scale and an autoscaler write it. In mode Watermark it is where the
    cluster starts, and status.scaling.desired is what is wanted."""
    resources: FreeForm = {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
    """Requests and limits of the broker's container."""
    config: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=200)] = {}
    """Settings of every broker by their names in docs/configuration.md. A change rolls the brokers."""
    template: Template = Template()
    """What is added to the pods."""
    paused: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(max_length=50, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = []
    """Node ids that the operator leaves alone while somebody works on them: they are not renewed, emptied, stopped or
    stood in for. While one of them is not well, no other broker is renewed either."""

    model_config = _ruled(
        (
            "!has(self.config) || self.config.all(k, !(k in ['node.id', 'broker.id', 'broker.rack', 'listeners', "
            "'advertised.listeners', 'listener.security.protocol.map', 'inter.broker.listener.name', "
            "'automq.inter.broker.secret.file', 'automq.admin.token.file', 'admin.listener', 's3.data.buckets', "
            "'s3.wal.path', 's3.wal.capacity', 's3.wal.iops', 's3.wal.bandwidth', 'automq.data.dir', "
            "'automq.accept.wal.loss']))",
            "config holds a setting that the operator itself gives to brokers; other fields of the spec decide it",
        ),
    )


class WalRetain(_Part):
    """What happens to volumes that no broker uses any more."""

    when_scaled: Literal["DeleteWhenClean", "Retain"] = "DeleteWhenClean"
    """After a scale-in. DeleteWhenClean: deleted once the metadata say that everything in it is in the bucket."""


class WalBucket(_Part):
    """A bucket for write-ahead logs alone, for example a faster one; reached with the same credentials."""

    bucket: Annotated[str, Field(pattern=_BUCKET)]
    """Its name."""
    prefix: Annotated[str, Field(pattern=_PREFIX, max_length=512)] = ""
    """The logs lie below this prefix; one bucket and prefix belongs to one cluster."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the bucket; unset: AWS_REGION of the pods."""
    endpoint: Annotated[str, Field(pattern=_ENDPOINT, max_length=512)] | None = None
    """URL of an S3-compatible service with conditional writes; unset: AWS."""
    path_style: bool = False
    """The bucket's name stands in the path and not in the host name."""


class Wal(_Part):
    """The write-ahead log, one per broker: what was acknowledged lies there until it is in the bucket."""

    type: Literal["EBS", "S3"] = "EBS"
    """EBS: a network volume that one node at a time attaches (CSI, ReadWriteOncePod), and that survives its node. S3: no
    volume at all; brokers run anywhere and any zone stands in for any other, and an acknowledgement takes a PUT, some
    hundred milliseconds."""
    s3: WalBucket | None = None
    """With type S3: where the logs lie; unset: in the bucket of storage.s3."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the volumes; unset: the cluster's default. Its volumeBindingMode should be WaitForFirstConsumer."""
    size: Annotated[str, Field(pattern=r"^[1-9][0-9]*(Gi|Ti)$")] = "10Gi"
    """Size of each volume; it may only grow, and the StorageClass must allow expansion for that. With type S3: what may
    wait for its upload."""
    volume_mode: Literal["Filesystem", "Block"] = "Filesystem"
    """Block: a raw device, experimental: the container runtime must have device_ownership_from_security_context on."""
    iops: Annotated[int, Field(ge=100, le=256000)] = 3000
    """Writes per second that the volume sustains; brokers stay below. gp3 has 3000 without extra cost."""
    throughput: Annotated[int, Field(ge=1, le=4000)] = 125
    """MiB per second that the volume sustains; brokers stay below. gp3 has 125 without extra cost."""
    retain: WalRetain = WalRetain()
    """What happens to volumes that no broker uses any more."""

    model_config = _ruled(
        ("self.type == oldSelf.type", "wal.type cannot be changed"),
        (
            "self.type != 'S3' || (!has(self.storageClassName) && self.volumeMode == 'Filesystem' && "
            "self.iops == 3000 && self.throughput == 125 && self.retain.whenScaled == 'DeleteWhenClean')",
            "with wal.type S3 there is no volume: storageClassName, volumeMode, iops, throughput and retain mean nothing",
        ),
        ("self.type == 'S3' || !has(self.s3)", "wal.s3 needs wal.type S3"),
        (
            "has(self.s3) == has(oldSelf.s3) && (!has(self.s3) || "
            "(self.s3.bucket == oldSelf.s3.bucket && self.s3.prefix == oldSelf.s3.prefix))",
            "wal.s3 cannot be moved: what waits for its upload would stay behind",
        ),
        ("self.volumeMode == oldSelf.volumeMode", "wal.volumeMode cannot be changed"),
        (
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "wal.storageClassName cannot be changed",
        ),
        (
            "!quantity(self.size).isLessThan(quantity(oldSelf.size))",
            "wal.size may only grow",
        ),
    )


class S3(_Part):
    """The bucket that holds everything."""

    bucket: Annotated[str, Field(pattern=_BUCKET)]
    """Its name."""
    prefix: Annotated[str, Field(pattern=_PREFIX, max_length=512)] = ""
    """Everything lies below this prefix; one bucket and prefix belongs to one cluster."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the bucket; unset: AWS_REGION of the pods."""
    endpoint: Annotated[str, Field(pattern=_ENDPOINT, max_length=512)] | None = None
    """URL of an S3-compatible service with conditional writes; unset: AWS."""
    path_style: bool = False
    """The bucket's name stands in the path and not in the host name; many S3-compatible services need it."""
    credentials_secret: SecretKey | None = None
    """A file in the format of AWS's shared credentials, mounted into the pods. Unset: the pods' own identity (IRSA, EKS
    Pod Identity, the node's role)."""

    model_config = _ruled(
        ("self.bucket == oldSelf.bucket", "storage.s3.bucket cannot be changed: the data would stay behind"),
        ("self.prefix == oldSelf.prefix", "storage.s3.prefix cannot be changed: the data would stay behind"),
    )


class Storage(_Part):
    """Where the data live."""

    s3: S3


class Advertised(_Part):
    """Under which address clients outside reach each broker."""

    host_template: Annotated[str, Field(pattern=r"^[A-Za-z0-9.{}-]+$", max_length=253)] | None = None
    """Host name of a broker; {nodeId} and {zone} are replaced. Unset: what the load balancer reports."""
    port_base: Annotated[int, Field(ge=1, le=65000)] | None = None
    """The broker's port is this number plus its node id. Unset: the listener's port, or the Service's node port."""


class Listener(_Part):
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

    model_config = _ruled(
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


class IssuerRef(_Part):
    """An issuer of cert-manager."""

    name: ObjectName
    """Its name."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """Its kind."""


class GeneratedAuthority(_Part):
    """An authority of the cluster's own, made by the operator: it signs the brokers' certificate, and clients trust it
    by the ConfigMap <name>-ca. It is renewed long before its end: its successor is trusted first and signs later."""

    authority_days: Annotated[int, Field(ge=4, le=36500)] = 1825
    """How long an authority is valid. Its successor is made after two thirds of that and signs after three quarters:
    within that time clients have to take ca.crt anew. A change is about the next one."""
    certificate_days: Annotated[int, Field(ge=1, le=825)] = 90
    """How long a certificate of the brokers is valid; it is renewed after two thirds of that."""

    model_config = _ruled(
        (
            "self.certificateDays * 4 <= self.authorityDays",
            "authorityDays is too short: at least four times certificateDays",
        ),
    )


class TlsCertificate(_Part):
    """Where the certificate of the TLS listeners comes from; renewed ones are used without a restart."""

    generated: GeneratedAuthority | None = None
    """The operator makes and renews it, and the authority that signs it: `generated: {}` is enough."""
    issuer_ref: IssuerRef | None = None
    """cert-manager makes and renews it."""
    certificate_secret: ObjectName | None = None
    """A Secret of one's own with tls-combined.pem (private key, then the chain) and, for clientAuthentication, ca.crt."""

    model_config = _ruled(
        (
            "(has(self.generated) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0) + (has(self.certificateSecret) ? 1 : 0) == 1",
            "give one of generated, issuerRef and certificateSecret",
        ),
    )


class Security(_Part):
    """Certificates. Brokers prove themselves to each other in any case, by a secret that the operator makes."""

    tls: TlsCertificate | None = None
    """The certificate of the listeners with tls: true."""


class Windows(_Part):
    """Times of the watermark loop, in seconds."""

    scale_out_seconds: Annotated[int, Field(ge=20, le=3600)] = 60
    """Utilisation is the mean over so long."""
    scale_in_seconds: Annotated[int, Field(ge=60, le=86400)] = 300
    """A scale-in needs the mean over so long below lowWatermark."""
    pause_after_scale_out_seconds: Annotated[int, Field(ge=0, le=86400)] = 180
    """Least time from any change to a scale-out."""
    pause_after_scale_in_seconds: Annotated[int, Field(ge=0, le=86400)] = 600
    """Least time from any change to a scale-in."""


class ScaleSteps(_Part):
    """How much changes at once. A scale-in is always one broker."""

    scale_out: Annotated[int, Field(ge=1, le=50)] = 2
    """Most brokers that are added at once."""


class Autoscaling(_Part):
    """Who decides how many brokers are wanted."""

    mode: Literal["External", "Watermark"] = "External"
    """External: brokers.replicas does, written by people, kubectl scale, an HPA or KEDA. Watermark: the operator does,
    by the brokers' network traffic; then kubectl scale is refused."""
    min_replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] = 1
    """Never fewer; in both modes."""
    max_replicas: Annotated[int, Field(ge=1, le=REPLICAS_MAX)] = REPLICAS_MAX
    """Never more; in both modes."""
    high_watermark: Annotated[float, Field(ge=0.1, le=1.0)] = 0.8
    """Above this utilisation brokers are added. 1.0 is the network's baseline, in the direction that moves more."""
    low_watermark: Annotated[float, Field(ge=0.0, le=0.9)] = 0.4
    """Below it one is removed."""
    network_baseline_mbps: Annotated[int, Field(ge=1, le=1000000)] | None = None
    """What a broker's network sustains in each direction, in megabits per second. Unset: known from the node's EC2
    instance type; where that says nothing, nothing is scaled, and the condition ScalingLimited says so."""
    windows: Windows = Windows()
    """Times."""
    steps: ScaleSteps = ScaleSteps()
    """How much changes at once."""

    model_config = _ruled(
        ("self.minReplicas <= self.maxReplicas", "autoscaling.minReplicas is above maxReplicas"),
        (
            "self.mode != 'Watermark' || (self.highWatermark - self.lowWatermark) * double(self.minReplicas + 1) > 1.0",
            "lowWatermark is too near to highWatermark: the gap must be above 1 / (minReplicas + 1), "
            "or each scale-in would be followed by a scale-out",
        ),
    )


class FailoverProof(_Part):
    """Who is asked whether a machine that is silent is dead. Silence alone never is a proof."""

    cloud_api: Literal["None", "EC2"] = "None"
    """EC2: the machine is stopped or terminated, read twice, 10 s apart (ec2:DescribeInstances and DescribeVolumes, by
    the operator's own identity). None: what Kubernetes knows, and people who taint a node out-of-service."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the machines; unset: that of their zone."""
    terminate_instance: bool = False
    """A machine that is proven stopped is terminated (ec2:TerminateInstances) before its volumes are taken, so that it
    can never come back in the middle."""

    model_config = _ruled(
        ("!self.terminateInstance || self.cloudApi == 'EC2'", "failover.proof.terminateInstance needs cloudApi EC2"),
    )


class FailoverRelease(_Part):
    """How the volume of a broker that is proven dead is taken from its node."""

    taint_node: bool = False
    """The node, while it is NotReady, is tainted out-of-service until nothing of the cluster is left on it: Kubernetes
    lets go of its volumes within a second, and of all other pods on it as well. false: the VolumeAttachment is deleted,
    which takes 13 to 60 s. Needs the permission to patch nodes."""


class Failover(_Part):
    """What is done for a broker that failed."""

    restart_grace_seconds: Annotated[int, Field(ge=0, le=3600)] = 60
    """So long a broker whose container ended may come back by itself before its log is moved. A node that is proven dead
    is not waited for."""
    max_concurrent: Annotated[int, Field(ge=1, le=50)] = 2
    """Most logs that are drained at the same time; one in each zone."""
    proof: FailoverProof = FailoverProof()
    """Who is asked whether a machine that is silent is dead."""
    release: FailoverRelease = FailoverRelease()
    """How a dead broker's volume is taken from its node."""


class Disruption(_Part):
    """Announced ends of nodes."""

    drain_taints: Annotated[list[Annotated[str, Field(max_length=317)]], Field(max_length=50)] = [
        "karpenter.sh/disrupted",
        "aws-node-termination-handler/spot-itn",
        "aws-node-termination-handler/scheduled-maintenance",
        "aws-node-termination-handler/asg-lifecycle-termination",
        "aws-node-termination-handler/rebalance-recommendation",
        "ToBeDeletedByClusterAutoscaler",
        "node.kubernetes.io/unschedulable",
    ]
    """Keys of taints that announce a node's end: the brokers on it are emptied at once."""


class MaintenanceWindow(_Part):
    """A time that comes again, in UTC."""

    days: Annotated[
        list[Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]],
        Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = []
    """Days on which it begins; empty: every day."""
    start: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """When it begins, as 22:30."""
    minutes: Annotated[int, Field(ge=10, le=1440)]
    """How long it lasts; it may go on into the next day."""


class AutoMQClusterSpec(_Part):
    """What is wanted."""

    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = None
    """Tag of the brokers' image; unset: the operator's version at the time when the resource was made."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """Whole name of the brokers' image, in place of the operator's default and `version`."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """As in a pod."""
    brokers: Brokers = Brokers()
    """How many brokers, and what they are given."""
    zones: Annotated[list[Zone], Field(max_length=ZONES_MAX, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Zones (topology.kubernetes.io/zone) that brokers are spread over; a zone keeps its range of node ids for ever. Two
    brokers in each zone let one stand in for the other. Empty: the scheduler chooses."""
    wal: Wal = Wal()
    """The write-ahead log's volumes."""
    storage: Storage
    """Where the data live."""
    listeners: Annotated[
        list[Listener],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = [Listener(name="plain")]
    """Where clients connect."""
    security: Security = Security()
    """Certificates."""
    autoscaling: Autoscaling = Autoscaling()
    """Who decides how many brokers are wanted."""
    failover: Failover = Failover()
    """What is done for a broker that failed."""
    disruption: Disruption = Disruption()
    """Announced ends of nodes."""
    maintenance_windows: Annotated[list[MaintenanceWindow], Field(max_length=20)] = []
    """When brokers may be renewed because of a new image, new settings or a wanted restart. One that was begun is brought
    to its end. Failover, drains and scaling wait for none of them. Empty: at any time."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the write-ahead logs' volumes when the resource is deleted. Delete: those that are known to hold
    nothing but what is in the bucket are deleted. The bucket is never touched."""
    paused: bool = False
    """Nothing is changed while it is true; what is seen is still reported."""

    model_config = _ruled(
        (
            "self.autoscaling.minReplicas <= self.brokers.replicas && "
            "self.brokers.replicas <= self.autoscaling.maxReplicas",
            "brokers.replicas is outside autoscaling.minReplicas and maxReplicas",
        ),
        (
            "self.autoscaling.mode != 'Watermark' || oldSelf.autoscaling.mode != 'Watermark' || "
            "self.brokers.replicas == oldSelf.brokers.replicas",
            "in autoscaling mode Watermark the operator decides how many brokers run; choose mode External to scale",
        ),
        (
            "(size(self.zones) == 0) == (size(oldSelf.zones) == 0)",
            "a cluster with zones cannot become one without, nor the other way round: brokers keep their zones",
        ),
        (
            "self.listeners.all(a, self.listeners.all(b, a.name == b.name || a.port != b.port))",
            "two listeners have the same port",
        ),
        (
            "self.wal.type != 'S3' || self.deletionPolicy == 'Retain'",
            "deletionPolicy Delete is about volumes, and with wal.type S3 there are none",
        ),
        (
            "!self.listeners.exists(l, l.tls) || (has(self.security) && has(self.security.tls))",
            "a listener has tls: true, but security.tls names no certificate",
        ),
    )


__all__ = [
    "GROUP",
    "KIND",
    "PLURAL",
    "REPLICAS_MAX",
    "RESERVED_PORTS",
    "S3",
    "VERSION",
    "Advertised",
    "AutoMQClusterSpec",
    "Autoscaling",
    "Brokers",
    "Disruption",
    "Failover",
    "FailoverProof",
    "FailoverRelease",
    "FreeForm",
    "GeneratedAuthority",
    "IssuerRef",
    "Listener",
    "MaintenanceWindow",
    "Security",
    "Storage",
    "Template",
    "TlsCertificate",
    "Wal",
    "WalBucket",
]
