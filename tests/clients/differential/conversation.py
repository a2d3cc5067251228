"""A Kafka client reduced to its socket: frames out, frames in, and what a broker does when it will not answer."""

import socket
import struct
import time
from typing import Any

from automq_broker.wire.frames import decode_response, encode_request
from automq_broker.wire.index import APIS

CLOSED = "the broker closed the connection"
SILENCE = "no answer"
"""What an answer is when there is none: closed at once, or nothing within the time given."""

CLIENT_ID = "differential"

_KEYS = {entry.name: key for key, entry in APIS.items()}


def key_of(message: Any) -> int:
    """The API key of a request message, from its class name."""
    return _KEYS[type(message).__name__.removesuffix("Request")]


class Conversation:
    """One connection to one broker; it is opened on demand and again after the broker has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._correlation_id = 0
        self._expected: list[tuple[int, int]] = []

    def send(self, message: Any, version: int) -> None:
        """Send a request without waiting for its answer."""
        self._correlation_id += 1
        key = key_of(message)
        self._expected.append((key, version))
        self.send_bytes(encode_request(key, version, self._correlation_id, CLIENT_ID, message))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, length prefix included."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=10)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)

    def receive(self, timeout_s: float = 15) -> Any:
        """The next answer, decoded; CLOSED or SILENCE if there is none."""
        frame = self.receive_frame(timeout_s)
        if not isinstance(frame, bytes):
            return frame
        key, version = self._expected.pop(0)
        return decode_response(key, version, memoryview(frame))[1]

    def receive_frame(self, timeout_s: float = 15) -> bytes | str:
        """The next frame without its length prefix; CLOSED or SILENCE if there is none."""
        assert self._socket is not None
        deadline = time.monotonic() + timeout_s
        try:
            prefix = self._read(4, deadline)
            return self._read(struct.unpack(">i", prefix)[0], deadline)
        except TimeoutError:
            return SILENCE
        except (ConnectionError, EOFError):
            self.close()
            return CLOSED

    def close(self) -> None:
        """Forget the connection; the next request opens a new one."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._expected.clear()

    def _read(self, count: int, deadline: float) -> bytes:
        assert self._socket is not None
        found = bytearray()
        while len(found) < count:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._socket.recv(count - len(found))
            if not part:
                raise EOFError
            found += part
        return bytes(found)
