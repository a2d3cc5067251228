"""What may be asked of the metadata, and what comes back.

A command is idempotent under a key that its sender chose: an incarnation, a topic id, a stream epoch, an object id.
After an unknown outcome the sender repeats it unchanged. Refusals are exceptions: ClientFault for wrong requests,
Fenced when a newer broker epoch exists (EPOCH_GONE: the process ends), Retry while a node is fenced, Refused for what
an operator must mend, NotMine and CommitRefused when the sender's view is old.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from automq_broker.kernel.errors import NotMine
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.meta.rows import Endpoint, ObjectRow, TopicRow

R_co = TypeVar("R_co", covariant=True)


class Command(Generic[R_co]):
    """Root of all commands; the parameter is the type of the answer."""

    __slots__ = ()


class CommitRefused(NotMine):
    """A commit that does not continue its streams, or whose id is retired. Nothing of it was applied.

    `ends` names every stream of the object: what lies below its end is committed, or droppable because the stream is no
    longer the sender's (OFFSET_MAX; those are also in `gone`). The rest goes into a new object under a new id.
    """

    def __init__(self, message: str, ends: Mapping[StreamId, Offset], gone: tuple[StreamId, ...] = ()) -> None:
        super().__init__(message)
        self.ends = dict(ends)
        self.gone = gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The broker epoch that this incarnation writes into its WAL and into every command."""

    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueGranted:
    """The epoch at which an adopter speaks for the node; it is also a granted WAL epoch."""

    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicCreated:
    """The topic as it was created."""

    topic: TopicRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the new owner starts from; recovery is filtered by this `committed_end`, never by an older answer."""

    stream_epoch: StreamEpoch
    start_offset: Offset
    committed_end: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class IdBlock:
    """Ids first .. end-1 for the sender alone."""

    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The committed ends of the object's streams after the commit."""

    ends: Mapping[StreamId, Offset]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalLossAccepted:
    """The node's epoch from now on, and the committed ends behind which its streams lost what was not uploaded.

    A repeated command finds no stream any more and is answered with none.
    """

    broker_epoch: BrokerEpoch
    ends: Mapping[StreamId, Offset]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterNode(Command[Registered]):
    """A starting broker, after it took its WAL's lock and read its superblock. Idempotent per incarnation.

    `wal_epoch_found` is 0 for a WAL that was just formatted. With `accept_wal_loss` another, freshly formatted volume
    replaces a recorded one whose node has open streams: what was not uploaded is lost, the old volume stays refused.
    """

    node_id: NodeId
    incarnation: UUID
    volume_uuid: UUID
    volume_handle: str
    wal_epoch_found: BrokerEpoch
    rack: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    accept_wal_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmWal(Command[None]):
    """The broker epoch is in the superblock, durably."""

    node_id: NodeId
    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecovered(Command[None]):
    """The WAL is replayed and all streams are open again: RECOVERING -> ACTIVE."""

    node_id: NodeId
    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStopped(Command[None]):
    """The broker ends. `clean`: its WAL is flushed and marked so.

    Its closed partitions go to brokers that serve, unless it `keeps_partitions`, since all end and are to come back.
    """

    node_id: NodeId
    broker_epoch: BrokerEpoch
    clean: bool = True
    keeps_partitions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StopCluster(Command[None]):
    """Brokers that stop before `until_ms` keep their partitions, for all of them stop; 0 takes that back.

    A broker that registers takes it back as well: the cluster starts. Time decides here who serves, never who may.
    """

    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetNode(Command[None]):
    """A broker is gone for good: nobody is shown it any more.

    Refused unless it has STOPPED, no partition is open in its name or assigned to it; ClientFault
    (BROKER_ID_NOT_REGISTERED) if there is none. Its volumes stay known: what they may not do, they may not do later either.
    """

    node_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class FenceNode(Command[None]):
    """The session of a node ran out: ACTIVE -> FENCED. Soft; applies only at `broker_epoch`."""

    node_id: NodeId
    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class LiftFence(Command[None]):
    """A heartbeat at the same epoch arrived: FENCED -> ACTIVE."""

    node_id: NodeId
    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueNode(Command[RescueGranted]):
    """The node is proven dead: grant a new epoch to an adopter. Refused unless the node is at `expected_epoch`.

    Repeated with the same `rescue` key it answers the same epoch.
    """

    node_id: NodeId
    expected_epoch: BrokerEpoch
    rescue: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueDone(Command[None]):
    """The adopter drained the WAL: RESCUING -> STOPPED. Refused while any stream of the node is OPEN."""

    node_id: NodeId
    broker_epoch: BrokerEpoch


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptWalLoss(Command[WalLossAccepted]):
    """The node's WAL volume is lost for good: go on without what was not uploaded. Idempotent per volume.

    The node gets a new epoch, which nobody speaks for; its streams close where they were committed and go to other nodes;
    the volume stays refused for ever. Refused (NotMine) at another epoch or volume, and for a node that is ACTIVE.
    """

    node_id: NodeId
    expected_epoch: BrokerEpoch
    volume_uuid: UUID
    volume_handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTopic(Command[TopicCreated]):
    """`topic_id` is chosen by the sender: the same id and name again is the same creation. `partitions` >= 1.

    `replication_factor` is checked for sense and then forgotten: the log is one, durable in WAL and bucket.
    `owners` names the node of each partition where somebody chose them; empty = placed by load and rack.
    """

    name: str
    topic_id: UUID
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    is_internal: bool = False
    replication_factor: int = 1
    created_ms: int = 0
    owners: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteTopic(Command[None]):
    """Remove a topic with its streams; objects without live ranges become deletable `now_ms` + grace."""

    topic_id: UUID
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePartitions(Command[TopicCreated]):
    """Grow a topic to `total` partitions; `owners` as in CreateTopic, one for each new partition."""

    topic_id: UUID
    total: int
    owners: tuple[NodeId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfigs(Command[None]):
    """Set and delete config values. Topic values are validated here; those of brokers by whoever knows the settings."""

    resource_type: int
    resource_name: str
    upserts: Mapping[str, str] = field(default_factory=dict)
    deletes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignStreams(Command[None]):
    """Choose who is to serve these streams. An open stream stays open until its owner closes it."""

    stream_ids: tuple[StreamId, ...]
    node_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream(Command[Opened]):
    """Open at `stream_epoch`, which must be the present epoch + 1; the same again is a success.

    Only the assigned node opens, only from CLOSED or over its own older incarnation. `log_end` is where the records
    that the WAL holds of it end (0 if there are none): the new epoch's records begin there, not at the committed end,
    and the leader-epoch history must say so.
    """

    stream_id: StreamId
    node_id: NodeId
    broker_epoch: BrokerEpoch
    stream_epoch: StreamEpoch
    log_end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseStream(Command[None]):
    """Everything up to `final_end`, appends in flight included, is committed: OPEN -> CLOSED. Repeats succeed."""

    stream_id: StreamId
    node_id: NodeId
    broker_epoch: BrokerEpoch
    stream_epoch: StreamEpoch
    final_end: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateObjectIds(Command[IdBlock]):
    """Lease a block of object ids to this incarnation. A repeat leases another block; ids are plenty."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    count: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitObject(Command[Committed]):
    """An uploaded object continues its streams, all or nothing. Repeats with the same content succeed."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    object: ObjectRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceObjects(Command[None]):
    """Compaction: `added` take over exactly the live ranges of `removed`. Refused (NotMine) unless they still do."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    removed: tuple[ObjectId, ...]
    added: tuple[ObjectRow, ...]
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceStart(Command[None]):
    """Forget records below `start_offset` (never beyond the committed end); an older value changes nothing."""

    stream_id: StreamId
    start_offset: Offset
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocateProducerIds(Command[IdBlock]):
    """A block of producer ids for InitProducerId; a repeat takes another one."""

    node_id: NodeId
    broker_epoch: BrokerEpoch
    count: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireBlock(Command[None]):
    """From this commit on no object of the block that begins at `first` can be committed; orphans may be swept."""

    first: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetObjects(Command[None]):
    """The data of these objects is deleted. Refused (Refused) if one of them is live."""

    object_ids: tuple[ObjectId, ...]


__all__ = [
    "AcceptWalLoss",
    "AdvanceStart",
    "AllocateObjectIds",
    "AllocateProducerIds",
    "AssignStreams",
    "CloseStream",
    "Command",
    "CommitObject",
    "CommitRefused",
    "Committed",
    "ConfirmWal",
    "CreatePartitions",
    "CreateTopic",
    "DeleteTopic",
    "FenceNode",
    "ForgetNode",
    "ForgetObjects",
    "IdBlock",
    "LiftFence",
    "NodeRecovered",
    "NodeStopped",
    "OpenStream",
    "Opened",
    "RegisterNode",
    "Registered",
    "ReplaceObjects",
    "RescueDone",
    "RescueGranted",
    "RescueNode",
    "RetireBlock",
    "SetConfigs",
    "StopCluster",
    "TopicCreated",
    "WalLossAccepted",
]
