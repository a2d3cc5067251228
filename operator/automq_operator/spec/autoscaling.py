"""Who decides how many brokers are wanted, and by what."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import REPLICAS_MAX, Part, ruled


class Windows(Part):
    """Times of the watermark loop, in seconds."""

    scale_out_seconds: Annotated[int, Field(ge=20, le=3600)] = 60
    """Utilisation is the mean over so long."""
    scale_in_seconds: Annotated[int, Field(ge=60, le=86400)] = 300
    """A scale-in needs the mean over so long below lowWatermark."""
    pause_after_scale_out_seconds: Annotated[int, Field(ge=0, le=86400)] = 180
    """Least time from any change to a scale-out."""
    pause_after_scale_in_seconds: Annotated[int, Field(ge=0, le=86400)] = 600
    """Least time from any change to a scale-in."""


class ScaleSteps(Part):
    """How much changes at once. A scale-in is always one broker."""

    scale_out: Annotated[int, Field(ge=1, le=50)] = 2
    """Most brokers that are added at once."""


class Autoscaling(Part):
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

    model_config = ruled(
        ("self.minReplicas <= self.maxReplicas", "autoscaling.minReplicas is above maxReplicas"),
        (
            "self.mode != 'Watermark' || (self.highWatermark - self.lowWatermark) * double(self.minReplicas + 1) > 1.0",
            "lowWatermark is too near to highWatermark: the gap must be above 1 / (minReplicas + 1), "
            "or each scale-in would be followed by a scale-out",
        ),
    )


__all__ = ["Autoscaling", "ScaleSteps", "Windows"]
