"""What clients saw, as they saw it: one file of JSON lines per client, written by `chaos.clients`, read by `chaos.checker`.

Times are the machine's monotonic clock in seconds, which all processes on it share. A value is a number that is sent once
in the whole run; its producer and its place in that producer's order follow from it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

NUMBERS_PER_PRODUCER: Final = 1 << 40
"""Value = producer's number * this + how many it had sent before."""


class Role(StrEnum):
    """What a client does, and so what is expected of it."""

    PRODUCER = "producer"
    """Idempotent: its records come once and in order."""
    READER = "reader"
    """Reads every partition from its beginning, without a group."""
    MEMBER = "member"
    """Reads what its group gives to it."""
    LAST = "last"
    """A reader that began when all producers had ended, and read to the end: what it found is the log."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A record was handed to the client library."""

    at: float
    partition: int
    value: int


@dataclass(frozen=True, slots=True)
class Acked:
    """A broker said that the record is stored at this offset."""

    at: float
    partition: int
    value: int
    offset: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The client gave a record up, or itself (`partition` and `value` -1)."""

    at: float
    partition: int
    value: int
    error: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """From now on the consumer has these partitions; where it goes on is up to the group's committed offsets."""

    at: float
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Polled:
    """Records of one partition that one poll returned, in its order."""

    at: float
    partition: int
    offsets: tuple[int, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """The coordinator confirmed the group's offset: the next one to read."""

    at: float
    partition: int
    offset: int


Event = Sent | Acked | Failed | Assigned | Polled | Committed

_KINDS: Final[dict[str, type[Event]]] = {
    "s": Sent,
    "a": Acked,
    "x": Failed,
    "n": Assigned,
    "p": Polled,
    "c": Committed,
}
_LETTERS: Final = {kind: letter for letter, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that one client saw, in its own order. Members of one group have the same `group`."""

    name: str
    role: Role
    events: tuple[Event, ...]
    group: str = ""


class Recorder:
    """Writes one client's history. What a killed client had not flushed is missing, which only weakens the checks."""

    def __init__(self, path: Path, role: Role, group: str = "") -> None:
        self._file: IO[str] = path.open("w")
        self._write([role.value, group])

    def tell(self, event: Event) -> None:
        """Append one event."""
        self._write([_LETTERS[type(event)], *(getattr(event, name) for name in type(event).__slots__)])

    def close(self) -> None:
        """Everything is in the file."""
        self._file.close()

    def _write(self, row: list[Any]) -> None:
        self._file.write(json.dumps(row, separators=(",", ":")) + "\n")


def load(path: Path) -> History:
    """Read what a Recorder wrote; a last line that is cut short is left out."""
    with path.open() as file:
        role, group = json.loads(next(file))
        return History(name=path.stem, role=Role(role), group=group, events=tuple(_events(file)))


def _events(lines: IO[str]) -> Iterator[Event]:
    for line in lines:
        if not line.endswith("\n"):
            return
        letter, *fields = json.loads(line)
        kind: Any = _KINDS[letter]
        yield kind(*(tuple(field) if isinstance(field, list) else field for field in fields))


__all__ = [
    "NUMBERS_PER_PRODUCER",
    "Acked",
    "Assigned",
    "Committed",
    "Event",
    "Failed",
    "History",
    "Polled",
    "Recorder",
    "Role",
    "Sent",
    "load",
]
