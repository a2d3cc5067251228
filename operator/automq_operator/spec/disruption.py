"""Announced ends of nodes, and times for changes."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import Part


class Disruption(Part):
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


class MaintenanceWindow(Part):
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


__all__ = ["Disruption", "MaintenanceWindow"]
