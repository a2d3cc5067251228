"""How one setting is declared: a pydantic field that also carries everything that is shown about it.

The declaration is the only source: validation, `automq config`, docs/configuration.md and DescribeConfigs read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from automq_broker.contract.config_rows import ConfigType

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Update(StrEnum):
    """When a new value takes effect. Source: Kafka's "update mode"."""

    READ_ONLY = "read-only"
    """At the next start."""

    PER_BROKER = "per-broker"
    """At once, for one broker or for all."""

    CLUSTER_WIDE = "cluster-wide"
    """At once; meant to be the same on every broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything known about a setting except its value. `low` and `high` are inclusive."""

    name: str
    kind: ConfigType
    default: Any
    meaning: str
    why: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    update: Update = Update.READ_ONLY
    is_sensitive: bool = False
    synonyms: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The valid values in words, as error messages and the documentation show them."""
        if self.choices:
            return ("any of " if self.kind is ConfigType.LIST else "one of ") + ", ".join(self.choices)
        if self.kind is ConfigType.BOOLEAN:
            return "true or false"
        if self.kind in _NUMBERS:
            return _range(self, *_NUMBERS[self.kind])
        return "names separated by commas" if self.kind is ConfigType.LIST else "text"


_NUMBERS: dict[ConfigType, tuple[str, float, float]] = {
    ConfigType.SHORT: ("an integer", -(2**15), 2**15 - 1),
    ConfigType.INT: ("an integer", -(2**31), INT_MAX),
    ConfigType.LONG: ("an integer", -(2**63), LONG_MAX),
    ConfigType.DOUBLE: ("a number", float("-inf"), float("inf")),
}


def _range(spec: Spec, noun: str, least: float, most: float) -> str:
    low = least if spec.low is None else spec.low
    high = most if spec.high is None else spec.high
    if high >= most:
        return f"{noun}, {low} or more" if low > least else noun
    return f"{noun} from {low} to {high}"


def _field(
    kind: ConfigType, name: str, default: Any, *, constraints: dict[str, Any] | None = None, **facts: Any
) -> Any:
    spec = Spec(name=name, kind=kind, default=default, **facts)
    return Field(default=default, json_schema_extra={"spec": spec}, **(constraints or {}))  # type: ignore[dict-item]


def _number(kind: ConfigType, name: str, default: float | None, facts: dict[str, Any]) -> Any:
    low, high = facts.get("low"), facts.get("high")
    _, least, most = _NUMBERS[kind]
    constraints = {"ge": least if low is None else low, "le": most if high is None else high}
    return _field(kind, name, default, constraints=constraints, **facts)


def integer(name: str, default: int | None, *, low: int | None = None, high: int | None = None, **facts: Any) -> Any:
    """A 32-bit integer."""
    return _number(ConfigType.INT, name, default, {"low": low, "high": high, **facts})


def long(name: str, default: int | None, *, low: int | None = None, high: int | None = None, **facts: Any) -> Any:
    """A 64-bit integer."""
    return _number(ConfigType.LONG, name, default, {"low": low, "high": high, **facts})


def decimal(name: str, default: float, *, low: float | None = None, high: float | None = None, **facts: Any) -> Any:
    """A floating-point number."""
    return _number(ConfigType.DOUBLE, name, default, {"low": low, "high": high, **facts})


def boolean(name: str, default: bool, **facts: Any) -> Any:
    """True or false."""
    return _field(ConfigType.BOOLEAN, name, default, **facts)


def text(name: str, default: str | None, **facts: Any) -> Any:
    """Free text, or one of `choices` (the annotation then is the same Literal)."""
    return _field(ConfigType.STRING, name, default, **facts)


def names(name: str, default: tuple[str, ...] | None, **facts: Any) -> Any:
    """A list written with commas."""
    return _field(ConfigType.LIST, name, default, **facts)


def secret(name: str, **facts: Any) -> Any:
    """A password or key: never logged, never described."""
    return _field(ConfigType.PASSWORD, name, None, is_sensitive=True, **facts)


class Group(BaseModel):
    """A frozen set of settings that belong together. Attribute names are the settings' names with underscores."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


def specs_of(group: type[Group]) -> Iterable[tuple[str, Spec]]:
    """The attribute name and the specification of each setting of a group, in the order of declaration."""
    for attribute, field in group.model_fields.items():
        yield attribute, _spec(field)


def _spec(field: FieldInfo) -> Spec:
    extra: Any = field.json_schema_extra
    spec = extra["spec"]
    assert isinstance(spec, Spec)
    return spec


__all__ = [
    "GIB",
    "INT_MAX",
    "KIB",
    "LONG_MAX",
    "MIB",
    "Group",
    "Spec",
    "Update",
    "boolean",
    "decimal",
    "integer",
    "long",
    "names",
    "secret",
    "specs_of",
    "text",
]
