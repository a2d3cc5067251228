"""TLS in front of a plain server: decrypts what comes and hands it on byte by byte.

with tls_forwarder(authority.issue("s3"), target_port) as port:
    ...  # https://localhost:{port} is the server behind
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 64 * 1024


@contextlib.contextmanager
def tls_forwarder(key_and_certificate: Path, target_port: int) -> Iterator[int]:
    """Forward connections of a free loopback port to `target_port` until the block ends; yields the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(key_and_certificate)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        threading.Thread(target=_accept, args=(listening, context, target_port), daemon=True).start()
        yield int(listening.getsockname()[1])
        with contextlib.suppress(OSError):  # the only way to wake a thread that waits in accept
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, context: ssl.SSLContext, target_port: int) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, target_port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, target_port: int) -> None:
    """One connection; an error on either side ends it, as it would end any connection."""
    with (
        plain,
        contextlib.suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", target_port)) as server,
    ):
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK_BYTES):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


__all__ = ["tls_forwarder"]
