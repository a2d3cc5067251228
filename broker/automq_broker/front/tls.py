"""TLS contexts from PEM files that may change at any time: a new handshake uses the files as they are then."""

import contextlib
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from automq_broker.kernel.errors import Refused

log = logging.getLogger("automq.front.tls")

_VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {"required": ssl.CERT_REQUIRED, "requested": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where keys and certificates are: paths of PEM files, or PEM text. Either `key_file` or the two texts are set."""

    key_file: str | None = None
    key_text: str | None = None
    chain_text: str | None = None
    key_password: str | None = None
    trust_file: str | None = None
    trust_text: str | None = None
    client_auth: Literal["required", "requested", "none"] = "none"
    versions: tuple[str, ...] = ("TLSv1.2", "TLSv1.3")
    ciphers: tuple[str, ...] = ()


class ReloadingContext:
    """The context for the next handshake of one listener; call it to get it, `look` to notice changed files.

    A changed file that cannot be used is reported once and the old context stays. Raises Refused at construction only.
    """

    def __init__(self, listener: str, files: TlsFiles) -> None:
        self._listener = listener
        self._files = files
        self._seen = self._stamps()
        self._context = build_context(listener, files)
        self.reloads_total = 0
        self.failures_total = 0

    def __call__(self) -> ssl.SSLContext:
        return self._context

    def look(self) -> bool:
        """Build a new context if a file changed; True if it is in use now."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            self._context = build_context(self._listener, self._files)
        except Refused as error:
            self.failures_total += 1
            log.error("changed TLS files cannot be used, the old ones stay", extra={"reason": str(error)})
            return False
        self.reloads_total += 1
        log.info("TLS files reloaded", extra={"listener": self._listener})
        return True

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._files.key_file, self._files.trust_file) if path is not None)


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What changes with a file, also when a mounted secret swaps a symbolic link; None while it is missing."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def build_context(listener: str, files: TlsFiles) -> ssl.SSLContext:
    """A server's context; raises Refused with one line that names the listener and the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = min((_VERSIONS[v] for v in files.versions), default=ssl.TLSVersion.TLSv1_2)
    context.maximum_version = max((_VERSIONS[v] for v in files.versions), default=ssl.TLSVersion.TLSv1_3)
    # Kafka's protocol needs neither, and both have cost others dearly.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load(
        listener, "ssl.cipher.suites", lambda: context.set_ciphers(":".join(files.ciphers)) if files.ciphers else None
    )
    with _key_path(files) as path:
        # Without a password OpenSSL would ask the terminal; an empty one makes it fail instead.
        _load(
            listener,
            files.key_file or "ssl.keystore.key",
            lambda: context.load_cert_chain(path, password=files.key_password or ""),
        )
    context.verify_mode = _CLIENT_AUTH[files.client_auth]
    if files.client_auth != "none":
        trusted = files.trust_file or "ssl.truststore.certificates"
        _load(
            listener, trusted, lambda: context.load_verify_locations(cafile=files.trust_file, cadata=files.trust_text)
        )
    return context


def _load(listener: str, what: str, step: Callable[[], None]) -> None:
    try:
        step()
    except ssl.SSLError as error:
        # Errors that OpenSSL itself did not raise have no reason.
        reason = getattr(error, "reason", None) or error.args[-1]
        raise Refused(f"listener {listener}: {what} cannot be used for TLS: {reason}") from error
    except OSError as error:
        raise Refused(f"listener {listener}: cannot read {what}: {error.strerror or error}") from error
    except ValueError as error:
        raise Refused(f"listener {listener}: {what} cannot be used for TLS: {error}") from error


@contextlib.contextmanager
def _key_path(files: TlsFiles) -> Iterator[str]:
    """The key file, or one that exists only as long as it is read: OpenSSL takes keys from files alone."""
    if files.key_file is not None:
        yield files.key_file
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{files.key_text}\n{files.chain_text}\n")
        file.flush()
        yield file.name


__all__ = ["ReloadingContext", "TlsFiles", "build_context"]
