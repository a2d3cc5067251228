"""A connection as handlers see it: who is there, through which listener, and how much it owes us reading."""

import asyncio


class ConnectionView:
    """One per connection, alive as long as it. Handlers may set `principal` and the software's name."""

    __slots__ = (
        "client_host",
        "client_port",
        "connection_id",
        "is_closed",
        "is_on_this_machine",
        "is_tls",
        "listener",
        "opened_at",
        "principal",
        "software_name",
        "software_version",
        "transport",
    )

    def __init__(
        self, *, connection_id: int, listener: str, client_host: str, client_port: int, is_tls: bool, opened_at: float
    ) -> None:
        self.connection_id = connection_id
        self.listener = listener
        self.client_host = client_host
        self.client_port = client_port
        self.is_tls = is_tls
        self.opened_at = opened_at
        self.principal: str | None = None
        """None until the peer has proved who it is; see identity.py."""

        self.software_name = ""
        self.software_version = ""
        self.is_on_this_machine = False
        """The peer has our own address: nothing but the system's memory lies between the two processes."""

        self.is_closed = False
        self.transport: asyncio.Transport | None = None

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that the peer has not read yet."""
        transport = self.transport
        return 0 if transport is None or self.is_closed else transport.get_write_buffer_size()


__all__ = ["ConnectionView"]
