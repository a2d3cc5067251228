"""Is it serving? One ApiVersions request over a fresh connection, without any client library."""

import socket
import struct

# ApiVersions v0: key 18, version 0, correlation id 7, client id "ready".
_REQUEST = struct.pack(">hhih", 18, 0, 7, 5) + b"ready"


def speaks_kafka(port: int, *, host: str = "127.0.0.1", timeout_s: float = 2.0) -> bool:
    """Whether a Kafka broker answers ApiVersions on that port."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            head = connection.recv(8, socket.MSG_WAITALL)
            return len(head) == 8 and struct.unpack(">ii", head)[1] == 7
    except OSError:
        return False
