"""What the operator sees, frozen at one moment: the only thing that a decision may depend on, besides `now`.

Times are seconds on the wall clock, since they must mean the same to the next operator; they only decide when something
is tried, never whether it may be. Both platforms, processes on a laptop and pods in Kubernetes, fill in the same values.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

_RESCUES: Final = UUID("6f0c2b1e-7f4a-5c0d-9d3e-6a1f52f4e8c7")


class Status(StrEnum):
    """Where a broker stands in the cluster's metadata; the words of the admin API."""

    RECOVERING = "RECOVERING"
    ACTIVE = "ACTIVE"
    FENCED = "FENCED"
    RESCUING = "RESCUING"
    STOPPED = "STOPPED"


class Proof(StrEnum):
    """Why a broker is known to be dead. Silence is none of these."""

    PROCESS_ENDED = "its process ended"
    """The kernel said so: it was waited for, or the lock that it held for life is free."""
    CONTAINERS_TERMINATED = "the kubelet reports its containers terminated"
    OUT_OF_SERVICE = "somebody tainted its node out-of-service"
    MACHINE_STOPPED = "the provider reports its machine stopped"
    NODE_GONE = "its node is gone and the provider reports no machine"
    UNPLACED = "its pod is gone, and its log ends where whoever drains it says so"
    """A log in a bucket is taken from whoever writes to it: no append is acknowledged behind the seal."""
    DETACHED = "its volume is attached nowhere"
    """A log that nobody can write to acknowledges nothing: the attachment's orderly end is a fence by itself."""


PROOFS_ABOUT_HOSTS: Final = frozenset({Proof.OUT_OF_SERVICE, Proof.MACHINE_STOPPED, Proof.NODE_GONE})
"""These say that a host is dead, so they prove nothing while that host is ready."""


class InstanceState(StrEnum):
    """How what runs a broker looks from outside."""

    RUNNING = "running"
    SILENT = "silent"
    """It does not answer. It may be stopped, swapped out, cut off, or dead: nobody knows."""
    ENDED = "ended"
    """Its end was reported; whether that is proof says `Instance.proof`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryKey:
    """Which death a recovery is about: a node at a broker epoch, and the volume that its log is on."""

    node_id: int
    broker_epoch: int
    volume: str

    @property
    def rescue(self) -> UUID:
        """Key of the rescue at the controller: whoever plans this recovery asks with the same one."""
        return uuid5(_RESCUES, f"{self.node_id}/{self.broker_epoch}/{self.volume}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A broker that is to run: its node id and its zone, for life."""

    node_id: int
    zone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A machine. `is_leaving`: its end was announced (Spot notice, drain), so that nothing new goes there."""

    name: str
    zone: str = ""
    is_ready: bool = True
    is_leaving: bool = False
    machine: str = ""
    """The provider's name of it, which no other machine ever gets."""
    is_tainted: bool = False
    """The operator itself declared it out of service."""
    is_in_use: bool = True
    """Something of the cluster is on it, or a volume attached to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """The process or pod that runs a broker, alive or ended. `uid` tells it from those before and after it."""

    node_id: int
    uid: str
    host: str
    state: InstanceState
    since: float
    """When it entered `state`."""
    proof: Proof | None = None
    detail: str = ""
    """What is known of its end or its silence, for people."""
    revision: str = ""
    quick_ends: int = 0
    """How many times in a row it ended soon after its start."""
    is_clean_end: bool = False
    """It ended in order: everything in its log is in the bucket."""
    wants_restart: bool = False
    """Somebody asked for its restart."""
    leaving: str = ""
    """The platform announced that it will end it, and why, in its word."""
    restarts_in_place: bool = False
    """It ended, and the platform starts it again by itself where it is, at growing intervals."""
    cannot_start: str = ""
    """Why it did not even begin to run, in the platform's own words, reason first: its image is missing, for one."""

    @property
    def comes_and_goes(self) -> bool:
        """Whether it was started again and again in vain."""
        return self.quick_ends > 2

    @property
    def is_stuck(self) -> bool:
        """Whether this form of it does not run, so that only another one helps."""
        return bool(self.cannot_start) or self.comes_and_goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A node as the metadata knows it."""

    node_id: int
    status: Status
    broker_epoch: int
    volume: str
    zone: str = ""
    partitions_assigned: int = 0
    partitions_open: int = 0
    is_cordoned: bool = False
    is_clean: bool = False
    """Its log holds nothing that the bucket does not."""
    rescue: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A write-ahead log's disk. `holder` is the uid of the instance or adopter that it is attached for, None if free.

    A log in a bucket is a volume too, which is attached nowhere, has no zone and is always free."""

    name: str
    node_id: int
    zone: str = ""
    holder: str | None = None
    uid: str = ""
    """Tells it from others of its name, before and after it; "" where names are enough."""
    was_left_clean: bool = False
    """Whoever used it last is gone and was seen to end in order."""
    is_growing: bool = False
    """It was made larger, and its file system is not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """What a platform has behind a volume, which it deletes some time after the volume. Only those that are to go."""

    name: str
    node_id: int
    claim: str
    """Uid of the volume that it is, or was, behind."""
    is_kept: bool = False
    """It stays when its volume goes, for the operator once said so."""
    trouble: str = ""
    """Why the platform could not delete it yet."""


class AdopterState(StrEnum):
    """How far an adopter is."""

    PENDING = "pending"
    """Created; waits for the volume."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopter:
    """A short-lived process or pod that drains a dead broker's log beside a survivor."""

    key: RecoveryKey
    uid: str
    granted_epoch: int
    beside: int
    """Node id of the survivor."""
    host: str
    state: AdopterState
    since: float
    attempt: int = 1
    proof: Proof | None = None
    """Why it is certainly dead although nobody saw it end: its machine is."""
    is_placed: bool = False
    """A machine was chosen for it; until then `detail` says why there is none."""
    cannot_start: str = ""
    """As of an instance: it has a machine, and does not even begin to run."""
    revision: str = ""
    """Form of the brokers that it was made from."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a broker moves, bytes per second, averaged by whoever measures; `baseline` is what its network sustains."""

    node_id: int
    measured_at: float
    bytes_in: float
    bytes_out: float
    baseline: float

    @property
    def utilisation(self) -> float:
        """1.0 is the baseline; networks count each direction by itself, so the larger one decides."""
        return max(self.bytes_in, self.bytes_out) / self.baseline


class Stage(StrEnum):
    """How far a recovery is. `decide.failover` holds the table of what is done in each."""

    SUSPECT = "suspect"
    RESTART_GRACE = "restart grace"
    PROVEN = "proven dead"
    GRANTED = "fenced, rescue granted"
    ADOPTER_WAITING = "adopter waits for the volume"
    DRAINING = "draining"
    STREAMS_CLOSED = "streams closed"
    ADOPTER_DONE = "adopter done"
    REPLACEMENT = "replacement starts"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Progress of one recovery, kept where a fresh operator finds it. Lost, it costs time and nothing else."""

    key: RecoveryKey
    began_at: float
    """When the failure was first seen."""
    entered: tuple[tuple[Stage, float], ...]
    """Each stage once, in the order and with the time of its last beginning."""
    reason: str = ""
    granted_epoch: int = 0
    """At which adopters speak for the node; 0 before the rescue was granted."""
    attempts: int = 0
    """Adopters seen so far."""
    free_since: float | None = None
    """Since when the present adopter has no machine although its volume is free."""

    @property
    def stage(self) -> Stage:
        """The newest stage."""
        return self.entered[-1][0]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.stage is Stage.DONE

    @property
    def seconds(self) -> float:
        """From the first sight to the newest stage."""
        return self.entered[-1][1] - self.began_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What the watermark loop remembers: samples of the mean utilisation, and when it last changed anything."""

    samples: tuple[tuple[float, float], ...] = ()
    desired: int | None = None
    changed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything the operator remembers between two looks; written before a plan is carried out."""

    recoveries: tuple[Recovery, ...] = ()
    """Those under way and the last ten that are done, oldest first."""
    drains: tuple[int, ...] = ()
    """Brokers that the operator itself drains, so that it never takes a person's cordon away."""
    rolling: int | None = None
    """The broker that the rollout works on."""
    scaling: Scaling = Scaling()
    machines: tuple[tuple[str, str], ...] = ()
    """Host to machine of everything that runs, so that a host that is gone can still be asked about."""
    clean: tuple[str, ...] = ()
    """Uids of volumes whose brokers were seen to end in order, while the whole cluster ends."""
    configs: tuple[str, ...] = ()
    """Names of the dynamic configs that the operator has set, so that it takes away no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleObject:
    """Something that the cluster consists of and that is not as it is to be. `uid` is that of what is to go, "" to apply."""

    kind: str
    name: str
    why: str
    uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One look. `is_metadata_known` is False while no broker answers; `brokers` is then empty."""

    slots: tuple[Slot, ...]
    revision: str = ""
    is_metadata_known: bool = True
    controller: int | None = None
    brokers: tuple[Broker, ...] = ()
    instances: tuple[Instance, ...] = ()
    volumes: tuple[Volume, ...] = ()
    disks: tuple[Disk, ...] = ()
    hosts: tuple[Host, ...] = ()
    adopters: tuple[Adopter, ...] = ()
    loads: tuple[Load, ...] = ()
    configs: tuple[tuple[str, str], ...] | None = None
    """Dynamic configs of all brokers that are in force; None where the brokers do not tell."""
    configs_wanted: tuple[tuple[str, str], ...] = ()
    """Those that are to be; others that somebody else set are left alone."""
    partitions: int = 0
    partitions_moving: int = 0
    stale: tuple[StaleObject, ...] = ()
    """In the order in which they are to be applied."""
    unplaced: tuple[tuple[int, str], ...] = ()
    """Brokers that the platform has no machine for, and why."""
    waits: str = ""
    """What the platform has not given yet and brokers need, in words."""
    held: str = ""
    """Why nothing is to be changed: it is paused, or is no cluster that may be worked on."""
    is_ending: bool = False
    """The whole cluster is to end."""
    rolls_downwards: bool = False
    """The platform can only renew the brokers of a zone from the highest node id down."""
    refused: str = ""
    """What somebody who drives the number of brokers may ask for, and is not allowed."""
    unseen: tuple[str, ...] = ()
    """What the operator has no permission to look at, in words."""
    memory: Memory = field(default_factory=Memory)

    def broker(self, node_id: int) -> Broker | None:
        """The node in the metadata."""
        return next((each for each in self.brokers if each.node_id == node_id), None)

    def instance(self, node_id: int) -> Instance | None:
        """What runs or ran the node last."""
        return next((each for each in self.instances if each.node_id == node_id), None)

    def volume(self, node_id: int) -> Volume | None:
        """The node's volume."""
        return next((each for each in self.volumes if each.node_id == node_id), None)

    def host(self, name: str) -> Host | None:
        """The machine of this name."""
        return next((each for each in self.hosts if each.name == name), None)

    def node_ids(self) -> list[int]:
        """Every node that is to run, runs or is known, in order."""
        wanted = {each.node_id for each in self.slots}
        return sorted(wanted | {each.node_id for each in self.brokers} | {each.node_id for each in self.instances})

    def recoveries_under_way(self) -> Iterator[Recovery]:
        """Those that are not done."""
        return (each for each in self.memory.recoveries if not each.is_done)


__all__ = [
    "PROOFS_ABOUT_HOSTS",
    "Adopter",
    "AdopterState",
    "Broker",
    "Disk",
    "Host",
    "Instance",
    "InstanceState",
    "Load",
    "Memory",
    "Proof",
    "Recovery",
    "RecoveryKey",
    "Scaling",
    "Slot",
    "Stage",
    "StaleObject",
    "Status",
    "Volume",
    "World",
]
