"""What the generated modules are made of: a message is one slotted class for all versions plus one table of fields.

A row of the table repeats Kafka's own definition: name, type, versions, nullable versions, tag, default. `codec` turns
the table into a reader and a writer for one version when that version is first met.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

ZERO_UUID = UUID(int=0)

UNBOUNDED = 1 << 15
"""The open end of a range such as "3+"; above every int16 version."""


class Versions(NamedTuple):
    """An inclusive range of versions; empty when `last` < `first`."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Versions":
        """Read Kafka's notation: "3", "1-4", "3+", "none" or the empty string."""
        if text in ("", "none"):
            return cls(0, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), UNBOUNDED)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def has(self, version: int) -> bool:
        """Whether `version` lies in the range."""
        return self.first <= version <= self.last


class Array(NamedTuple):
    """An array whose items are a primitive (its Kafka name) or a struct (its class)."""

    item: "str | type[Message]"


FieldType = str | type["Message"] | Array
"""A primitive's Kafka name ("int32", "string", "records", ...), a struct's class, or an Array."""


class NewDefault(NamedTuple):
    """A default that every message needs its own copy of: an empty list or a struct."""

    make: Any


class Field(NamedTuple):
    """One field as Kafka defines it; `default` is what a version without the field means, or a NewDefault."""

    name: str
    type: FieldType
    versions: str
    default: Any
    nullable: str = ""
    tag: int = -1
    tagged: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The table of one struct; `flexible` is the first version with compact lengths and tagged fields (or none)."""

    flexible: str
    fields: tuple[Field, ...]
    valid: str = "0+"


class Message:
    """Base of all generated classes: equality and a readable form over the slots."""

    __slots__: tuple[str, ...] = ()
    SCHEMA: ClassVar[Schema]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class _New:
    """The type of NEW, the marker for "make an empty one" in generated constructors."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NEW"


NEW: Any = _New()
"""Default of array and struct arguments: None already means null there."""

__all__ = [
    "NEW",
    "UNBOUNDED",
    "ZERO_UUID",
    "Array",
    "Field",
    "FieldType",
    "Message",
    "NewDefault",
    "Schema",
    "Versions",
]
