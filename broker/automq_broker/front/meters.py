"""What the front counts, as a port: the caller brings the counters. Called on the hot path, so they must be cheap."""

from typing import Protocol


class Meters(Protocol):
    """Counters and histograms. No method may raise or wait."""

    def request_done(self, api_key: int, latency_s: float, bytes_in: int, bytes_out: int) -> None:
        """A request was answered (or needed no answer); latency from its last byte read to its answer handed over."""

    def request_failed(self, api_key: int, reason: str) -> None:
        """A request ended its connection: undecodable, unsupported, failed. The key is -1 where it is not known."""

    def connection_opened(self, listener: str) -> None:
        """A connection was accepted (TLS handshake included)."""

    def connection_closed(self, listener: str, reason: str) -> None:
        """An accepted connection is gone."""

    def connection_refused(self, listener: str, reason: str) -> None:
        """A connection was turned away before it could speak."""


class NoMeters:
    """Counts nothing."""

    def request_done(self, api_key: int, latency_s: float, bytes_in: int, bytes_out: int) -> None:
        """Nothing."""

    def request_failed(self, api_key: int, reason: str) -> None:
        """Nothing."""

    def connection_opened(self, listener: str) -> None:
        """Nothing."""

    def connection_closed(self, listener: str, reason: str) -> None:
        """Nothing."""

    def connection_refused(self, listener: str, reason: str) -> None:
        """Nothing."""


__all__ = ["Meters", "NoMeters"]
