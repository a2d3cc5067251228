"""Proof of the cluster's shared secret, both ways, without showing it.

Each side draws a nonce; the proof of a side is an HMAC-SHA256, under the secret, of its role, both nonces, the cluster
and both nodes. The role in it keeps one side's proof from being played back as the other's, the nonces keep an old one
from being played back at all. The caller goes first, so a stranger who only calls learns nothing to guess from.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.errors import Refused

NONCE_BYTES: Final = 32
SECRET_BYTES_MIN: Final = 16
_CONTEXT: Final = b"automq inter-broker 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What both sides know of each other before the proof."""

    cluster_id: str
    caller_id: int
    called_id: int
    caller_nonce: bytes
    called_nonce: bytes


class Secret:
    """The shared secret; never printed."""

    __slots__ = ("_key",)

    def __init__(self, text: bytes) -> None:
        """Raises Refused for a secret that could be guessed. White space around it does not count."""
        text = text.strip()
        if len(text) < SECRET_BYTES_MIN:
            raise Refused(f"the inter-broker secret has {len(text)} bytes; at least {SECRET_BYTES_MIN} are needed")
        self._key = hashlib.sha256(_CONTEXT + text).digest()

    def __repr__(self) -> str:
        return "Secret(...)"

    def caller_proof(self, greeting: Greeting) -> bytes:
        """What the broker that opened the connection shows."""
        return self._proof(b"caller", greeting)

    def called_proof(self, greeting: Greeting) -> bytes:
        """What the broker that was called shows in return."""
        return self._proof(b"called", greeting)

    def _proof(self, role: bytes, greeting: Greeting) -> bytes:
        parts = (
            _CONTEXT,
            role,
            greeting.cluster_id.encode(),
            str(greeting.caller_id).encode(),
            str(greeting.called_id).encode(),
            greeting.caller_nonce,
            greeting.called_nonce,
        )
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._key, message, hashlib.sha256).digest()


def is_same(shown: bytes, expected: bytes) -> bool:
    """Compare two proofs in a time that does not depend on where they differ."""
    return hmac.compare_digest(shown, expected)


__all__ = ["NONCE_BYTES", "SECRET_BYTES_MIN", "Greeting", "Secret", "is_same"]
