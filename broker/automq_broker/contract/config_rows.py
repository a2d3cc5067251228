"""A setting as it is shown: by `automq config`, in docs/configuration.md, and to Kafka's DescribeConfigs.

The numbers are Kafka's own, so the desk hands them on unchanged. Source: DescribeConfigsResponse, KIP-226, KIP-569.
"""

from dataclasses import dataclass
from enum import IntEnum


class ConfigType(IntEnum):
    """Kafka's config types."""

    UNKNOWN = 0
    BOOLEAN = 1
    STRING = 2
    INT = 3
    SHORT = 4
    LONG = 5
    DOUBLE = 6
    LIST = 7
    CLASS = 8
    PASSWORD = 9


class ConfigSource(IntEnum):
    """Where a value came from, in Kafka's numbering; a lower number wins among 2, 3, 4 and 5."""

    TOPIC = 1
    DYNAMIC_BROKER = 2
    DYNAMIC_DEFAULT_BROKER = 3
    STATIC_BROKER = 4
    DEFAULT = 5
    DYNAMIC_BROKER_LOGGER = 6
    CLIENT_METRICS = 7
    GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSynonym:
    """One value that stands behind the effective one, with the name and source under which it was given."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """One setting with its effective value. `value` is None for a null and for every sensitive one that is set.

    `origin` says for humans where the value came from (file and line, variable, flag). `synonyms` are in the order of
    precedence, the effective one first. `is_used` is False for keys that Kafka knows and this broker does not need.
    """

    name: str
    value: str | None
    default: str | None
    type: ConfigType
    source: ConfigSource
    origin: str
    is_read_only: bool
    is_sensitive: bool
    doc: str
    unit: str = ""
    allowed: str = ""
    synonyms: tuple[ConfigSynonym, ...] = ()
    is_used: bool = True


__all__ = ["ConfigRow", "ConfigSource", "ConfigSynonym", "ConfigType"]
