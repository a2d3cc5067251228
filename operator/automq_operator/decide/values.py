"""What planners share: a plan and its parts, and the policy that a user sets."""

from dataclasses import dataclass, field

from automq_operator.steps import Step
from automq_operator.world import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """Something that is not done now. `gate` is what holds it up, for counting; `reason` is for people."""

    subject: str
    gate: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in the order in which they are to be tried; the memory is to be written before the first of them."""

    steps: tuple[Step, ...] = ()
    deferrals: tuple[Deferral, ...] = ()
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverPolicy:
    """When and how many. Seconds."""

    restart_grace_s: float = 60.0
    """How long whatever restarts containers may try before a log is moved; 0 where nothing does. A machine that is proven
    dead restarts nothing."""

    recoveries_max: int = 2
    """Logs drained at the same time in the cluster."""

    recoveries_per_zone_max: int = 1

    brake_fraction: float = 0.5
    brake_s: float = 60.0
    """When at least two brokers and this part of all have failed, no new log is moved for so long after the newest of
    these failures: first they may come back where they were, because what took so many is rarely their death."""

    adopter_pending_max_s: float = 120.0
    """An adopter that waits longer for its volume no longer holds others up."""

    remembers_machines: bool = False
    """A provider is asked about machines, so their names are kept while their hosts are there."""

    unschedulable_max_s: float = 15.0
    """So long an adopter may be without a machine although its volume is free; then any machine of the zone will do."""

    attempts_max: int = 3
    """Adopters in vain before the broker is started on its own log instead, which recovers it too."""

    restart_backoff_s: float = 1.0
    restart_backoff_max_s: float = 60.0
    """Pause before a broker that ended soon after its start is started again; doubled each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePolicy:
    """The watermark loop; utilisation 1.0 is the network's baseline. Off unless `maximum` is above `minimum`."""

    minimum: int = 1
    maximum: int = 1
    high: float = 0.8
    low: float = 0.4
    window_s: float = 60.0
    """Utilisation is the mean over so long, and counts only when the whole window was seen."""
    out_pause_s: float = 180.0
    in_pause_s: float = 600.0
    """Least time between a change and the next one, by its direction."""
    in_window_s: float = 300.0
    """Scale-in needs every mean of this long below `low`."""
    out_step: int = 2
    """Most brokers added at once; one is removed at a time."""
    in_margin: float = 0.9
    """Scale-in needs the remaining brokers below this part of `high`."""
    stale_s: float = 20.0
    """Figures older than this are no figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time of the week, in UTC. `days` count from Monday, 0; `start` and `length` are minutes."""

    days: frozenset[int]
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """When brokers may be renewed; no windows: at any time."""

    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything a user may set about decisions."""

    failover: FailoverPolicy = FailoverPolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    scale: ScalePolicy = ScalePolicy()
    paused: frozenset[int] = frozenset()
    """Brokers that are left alone."""
    retires_volumes: bool = False
    """Volumes that no broker uses any more are deleted once they are known to be clean."""
    ends_with_volumes: bool = False
    """The same when the whole cluster ends."""


__all__ = ["Deferral", "FailoverPolicy", "Plan", "Policy", "RolloutPolicy", "ScalePolicy", "Window"]
