"""What a registered process says for its node, and what it means when that is refused for its epoch.

EPOCH_GONE says that the node lives on without this process: it was started anew, or given to an adopter. Whoever meets it
first, an upload or a client's request, ends the process; nothing is registered again in place (DESIGN 5a.2).
"""

from collections.abc import Callable
from typing import TypeVar

from automq_broker.kernel.errors import Fenced
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import Command
from automq_broker.meta.state import State
from automq_broker.ports import Metadata, OnRecords, OnReload

R = TypeVar("R")


class Voice:
    """Port Metadata of one registered process; `fail(error)` ends it. What it says of other nodes is left alone."""

    __slots__ = ("_broker_epoch", "_fail", "_metadata", "_node_id")

    def __init__(
        self, metadata: Metadata, node_id: NodeId, broker_epoch: BrokerEpoch, fail: Callable[[BaseException], None]
    ) -> None:
        self._metadata = metadata
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._fail = fail

    @property
    def state(self) -> State:
        """See Metadata.state."""
        return self._metadata.state

    @property
    def is_holder(self) -> bool:
        """See Metadata.is_holder."""
        return self._metadata.is_holder

    async def submit(self, command: Command[R]) -> R:
        """See Metadata.submit."""
        try:
            return await self._metadata.submit(command)
        except Fenced as gone:
            if self._speaks_for_itself(command):
                self._fail(gone)
            raise

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """See Metadata.subscribe."""
        self._metadata.subscribe(on_records, on_reload)

    def _speaks_for_itself(self, command: Command[R]) -> bool:
        said_by = getattr(command, "node_id", None), getattr(command, "broker_epoch", None)
        return said_by == (self._node_id, self._broker_epoch)


__all__ = ["Voice"]
