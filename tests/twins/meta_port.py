"""The metadata port over a MetaWorld: commands are decided and applied at once, as the controller's own process sees it."""

from typing import TypeVar

from automq_broker.meta.commands import Command
from automq_broker.meta.state import State
from automq_broker.ports import OnRecords, OnReload
from twins.meta_world import MetaWorld

R = TypeVar("R")


class MetaPort:
    """Satisfies ports.Metadata. `submitted` holds every command in its order, refused ones too."""

    def __init__(self, world: MetaWorld) -> None:
        self.world = world
        self.submitted: list[Command[object]] = []

    @property
    def state(self) -> State:
        """See ports.Metadata."""
        return self.world.state

    @property
    def is_holder(self) -> bool:
        """See ports.Metadata."""
        return True

    async def submit(self, command: Command[R]) -> R:
        """See ports.Metadata."""
        self.submitted.append(command)
        return self.world.do(command)

    def subscribe(self, on_records: OnRecords, on_reload: OnReload | None = None) -> None:
        """Nobody is told anything: what needs that uses the whole controller."""


__all__ = ["MetaPort"]
