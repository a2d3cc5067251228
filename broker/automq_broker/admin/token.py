"""The bearer token of the admin API: one line in a file that may be replaced at any time."""

import hmac
from pathlib import Path

from automq_broker.kernel.errors import Refused

_LENGTH_MIN = 16
_BYTES_MAX = 4096


class Token:
    """Reads the file at each question, which is rare, so that a rotated secret counts at once.

    Raises Refused at the start if the file is missing or too short to be a secret. If it becomes so later, nobody is
    admitted until it is mended.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read()

    def admits(self, authorization: str) -> bool:
        """Whether this Authorization header carries the token; takes the same time for every wrong one."""
        scheme, _, given = authorization.partition(" ")
        try:
            token = self._read()
        except Refused:
            return False
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                token = file.read(_BYTES_MAX).strip()
        except OSError as error:
            raise Refused(f"automq.admin.token.file: cannot read {self._path}: {error.strerror}") from error
        if len(token) < _LENGTH_MIN:
            raise Refused(f"automq.admin.token.file: {self._path} must hold at least {_LENGTH_MIN} characters")
        return token


__all__ = ["Token"]
