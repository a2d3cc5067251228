"""The WAL volume of a host: MemoryWal, attached to one process at a time, with every write in the trace."""

from collections.abc import Callable
from typing import Self

from automq_broker.wal.format import RING_POSITION
from twins.engine_world import MortalWal


class SimWal(MortalWal):
    """Tells `on_write(position, length, error)` what became of each write."""

    on_write: Callable[[int, int, BaseException | None], None]

    def write(self, position: int, data: memoryview, done: Callable[[BaseException | None], None]) -> None:
        """See WalDevice.write."""

        def told(error: BaseException | None) -> None:
            self.on_write(position, len(data), error)
            done(error)

        super().write(position, data, told)

    async def open(self) -> Self:
        """A disk is there at once."""
        return self

    @staticmethod
    def is_superblock(position: int) -> bool:
        """Whether a write there is one of a superblock."""
        return position < RING_POSITION


__all__ = ["SimWal"]
