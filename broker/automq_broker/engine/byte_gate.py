"""Bytes in memory at the same time, kept below a limit by letting whoever brings more wait."""

import asyncio


class ByteGate:
    """Lets in as many bytes as fit below `limit_bytes`, in the order of asking; one larger than that goes in alone."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait until `size` bytes have room, and count them until `leave`."""
        async with self._turn:  # first come, first served: small ones must not starve a large one
            while self.used_bytes and self.used_bytes + size > self.limit_bytes:
                self._left.clear()
                await self._left.wait()
            self.used_bytes += size

    def leave(self, size: int) -> None:
        """`size` bytes that entered are gone."""
        self.used_bytes -= size
        self._left.set()


__all__ = ["ByteGate"]
