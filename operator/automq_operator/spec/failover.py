"""What is done for brokers that failed."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import Part, ruled


class FailoverProof(Part):
    """Who is asked whether a machine that is silent is dead. Silence alone never is a proof."""

    cloud_api: Literal["None", "EC2"] = "None"
    """EC2: the machine is stopped or terminated, read twice, 10 s apart (ec2:DescribeInstances and DescribeVolumes, by
    the operator's own identity). None: what Kubernetes knows, and people who taint a node out-of-service."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the machines; unset: that of their zone."""
    terminate_instance: bool = False
    """A machine that is proven stopped is terminated (ec2:TerminateInstances) before its volumes are taken, so that it
    can never come back in the middle."""

    model_config = ruled(
        ("!self.terminateInstance || self.cloudApi == 'EC2'", "failover.proof.terminateInstance needs cloudApi EC2"),
    )


class FailoverRelease(Part):
    """How the volume of a broker that is proven dead is taken from its node."""

    taint_node: bool = False
    """The node, while it is NotReady, is tainted out-of-service until nothing of the cluster is left on it: Kubernetes
    lets go of its volumes within a second, and of all other pods on it as well. false: the VolumeAttachment is deleted,
    which takes 13 to 60 s. Needs the permission to patch nodes."""


class Failover(Part):
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


__all__ = ["Failover", "FailoverProof", "FailoverRelease"]
