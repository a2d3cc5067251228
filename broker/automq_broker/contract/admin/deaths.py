"""What is done about brokers that are silent or dead."""

from uuid import UUID

from pydantic import Field

from automq_broker.contract.admin.values import PAGE_ROWS_MAX, Answer, EpochField, NodeIdField, Question
from automq_broker.contract.admin.views import BrokerStatus


class FenceRequest(Question):
    """Take a silent broker out of service until its next heartbeat."""

    node_id: NodeIdField
    broker_epoch: EpochField


class RescueRequest(Question):
    """Take a dead broker's epoch away and grant one to an adopter. Only with proof that it is dead."""

    node_id: NodeIdField
    broker_epoch: EpochField
    rescue: UUID = Field(description="Key of this rescue; the same key gets the same answer.")


class RescueGranted(Answer):
    """What an adopter starts with."""

    node_id: int
    broker_epoch: int


class AdoptDoneRequest(Question):
    """The adopter drained the log; refused while a partition of the node is open."""

    node_id: NodeIdField
    broker_epoch: EpochField


class AcceptWalLossRequest(Question):
    """Go on without a dead broker's write-ahead log. Only for a volume that is lost for good: it stays refused."""

    node_id: NodeIdField
    broker_epoch: EpochField
    volume_uuid: UUID = Field(description="The volume that is given up, as GET /v1/brokers names it.")
    volume_handle: str = Field(max_length=1024)


class LostBehind(Answer):
    """A partition of the given-up log: what was acknowledged at `committed_end` and behind it is gone."""

    topic: str
    partition: int
    committed_end: int


class WalLossAccepted(Answer):
    """The broker's partitions go on at their committed ends; it may start again on another volume."""

    node_id: int
    broker_epoch: int
    lost: tuple[LostBehind, ...] = Field(description="Empty if the loss had been accepted before.")
    total: int = Field(description=f"All of them; at most {PAGE_ROWS_MAX} are named.")


class Done(Answer):
    """It is so, whether by this call or by an earlier one."""

    node_id: int
    status: BrokerStatus


__all__ = [
    "AcceptWalLossRequest",
    "AdoptDoneRequest",
    "Done",
    "FenceRequest",
    "LostBehind",
    "RescueGranted",
    "RescueRequest",
    "WalLossAccepted",
]
