"""Every topic config of Kafka 4.3: name, type, default, what is allowed, what it means here.

The table and the refusals were read off Kafka's own LogConfig (4.3.0); the meanings are ours, since some knobs of a
broker with local segments have nothing to turn here. Those are accepted, kept and described, so that tools and users'
scripts work unchanged. Values are kept as texts; `parse` gives them their type.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.codes import ErrorCode

INT_MAX: Final = (1 << 31) - 1
LONG_MAX: Final = (1 << 63) - 1

Value = bool | int | float | str | tuple[str, ...]


class ConfigType(IntEnum):
    """Kafka's numbers for config types (ConfigSynonym and DescribeConfigs)."""

    BOOLEAN = 1
    STRING = 2
    INT = 3
    LONG = 5
    DOUBLE = 6
    LIST = 7


class BadValue(ValueError):
    """A value outside of what its config allows; says why in Kafka's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """One config. `synonym` is the broker setting whose value is the default of topics, "" if there is none."""

    name: str
    type: ConfigType
    default: str
    check: Callable[[Value], None]
    allowed: str
    doc: str
    synonym: str = ""


def _any(value: Value) -> None:
    """Everything that has the type is allowed."""


def _range(low: float, high: float) -> tuple[Callable[[Value], None], str]:
    def check(value: Value) -> None:
        assert isinstance(value, int | float)
        if value < low:
            raise BadValue(f"Value must be at least {low}")
        if value > high:
            raise BadValue(f"Value must be no more than {high}")

    return check, f"[{low},...]" if high >= INT_MAX else f"[{low},...,{high}]"


def _one_of(*words: str) -> tuple[Callable[[Value], None], str]:
    def check(value: Value) -> None:
        for word in value if isinstance(value, tuple) else (value,):
            if word not in words:
                raise BadValue(f"String must be one of: {', '.join(words)}")

    return check, f"[{', '.join(words)}]"


def _check_gzip_level(value: Value) -> None:
    if value != -1 and not (isinstance(value, int) and 1 <= value <= 9):
        raise BadValue("Value must be between 1 and 9 or equal to -1")


_REPLICA: Final = re.compile(r"\d+:\d+", re.ASCII)


def _check_replicas(value: Value) -> None:
    assert isinstance(value, tuple)
    if value != ("*",) and not all(_REPLICA.fullmatch(each) for each in value):
        raise BadValue(
            "must be the literal '*' or a list of replicas in the following format: "
            "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
        )


_ANY = (_any, "")
_BOOLEAN = (_any, "true, false")
_REPLICAS = (_check_replicas, "*, or [partitionId]:[brokerId],[partitionId]:[brokerId],...")
_T = ConfigType
_NO_SEGMENTS = "No effect: there are no segment files here."


_Row = tuple[str, ConfigType, str | int, tuple[Callable[[Value], None], str], str, str]

_ROWS: Final[tuple[_Row, ...]] = (
    (
        "cleanup.policy", _T.LIST, "delete", _one_of("compact", "delete"), "log.cleanup.policy",
        "delete: old records expire by time and size. compact: the last value of every key stays. Both may be set; "
        "an empty list keeps everything.",
    ),
    (
        "compression.gzip.level", _T.INT, -1, (_check_gzip_level, "[1,...,9] or -1"), "compression.gzip.level",
        "Level for gzip where the broker compresses; -1 is the library's own default.",
    ),
    (
        "compression.lz4.level", _T.INT, 9, _range(1, 17), "compression.lz4.level",
        "Level for lz4 where the broker compresses.",
    ),
    (
        "compression.type", _T.STRING, "producer",
        _one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), "compression.type",
        "producer keeps batches as they were sent, which is the cheapest; another codec makes the broker recompress.",
    ),
    (
        "compression.zstd.level", _T.INT, 3, _range(-131072, 22), "compression.zstd.level",
        "Level for zstd where the broker compresses.",
    ),
    (
        "delete.retention.ms", _T.LONG, 86400000, _range(0, LONG_MAX), "log.cleaner.delete.retention.ms",
        "How long a tombstone of a compacted topic stays, so that a reader from the start still sees the deletion.",
    ),
    (
        "file.delete.delay.ms", _T.LONG, 60000, _range(0, LONG_MAX), "log.segment.delete.delay.ms",
        "No effect: expired objects stay in the bucket for one grace period that holds for the whole cluster.",
    ),
    (
        "flush.messages", _T.LONG, LONG_MAX, _range(1, LONG_MAX), "log.flush.interval.messages",
        "No effect: every record is durable before it is acknowledged.",
    ),
    (
        "flush.ms", _T.LONG, LONG_MAX, _range(0, LONG_MAX), "log.flush.interval.ms",
        "No effect: every record is durable before it is acknowledged.",
    ),
    (
        "follower.replication.throttled.replicas", _T.LIST, "", _REPLICAS, "",
        "No effect: there are no followers.",
    ),
    ("index.interval.bytes", _T.INT, 4096, _range(0, INT_MAX), "log.index.interval.bytes", _NO_SEGMENTS),
    (
        "leader.replication.throttled.replicas", _T.LIST, "", _REPLICAS, "",
        "No effect: there are no followers.",
    ),
    (
        "local.retention.bytes", _T.LONG, -2, _range(-2, LONG_MAX), "log.local.retention.bytes",
        "No effect: nothing is local but the write-ahead log; -2 stands for retention.bytes.",
    ),
    (
        "local.retention.ms", _T.LONG, -2, _range(-2, LONG_MAX), "log.local.retention.ms",
        "No effect: nothing is local but the write-ahead log; -2 stands for retention.ms.",
    ),
    (
        "max.compaction.lag.ms", _T.LONG, LONG_MAX, _range(1, LONG_MAX), "log.cleaner.max.compaction.lag.ms",
        "A record of a compacted topic is considered for compaction after this long at the latest.",
    ),
    (
        "max.message.bytes", _T.INT, 1048588, _range(0, INT_MAX), "message.max.bytes",
        "Largest record batch, as sent (compressed), that a producer may append.",
    ),
    (
        "message.timestamp.after.max.ms", _T.LONG, 3600000, _range(0, LONG_MAX), "log.message.timestamp.after.max.ms",
        "How far a record's timestamp may lie ahead of the broker's clock; ignored with LogAppendTime.",
    ),
    (
        "message.timestamp.before.max.ms", _T.LONG, LONG_MAX, _range(0, LONG_MAX),
        "log.message.timestamp.before.max.ms",
        "How far a record's timestamp may lie behind the broker's clock; ignored with LogAppendTime.",
    ),
    (
        "message.timestamp.type", _T.STRING, "CreateTime", _one_of("CreateTime", "LogAppendTime"),
        "log.message.timestamp.type",
        "CreateTime keeps the producer's timestamps, LogAppendTime puts the broker's in their place.",
    ),
    (
        "min.cleanable.dirty.ratio", _T.DOUBLE, "0.5", _range(0, 1), "log.cleaner.min.cleanable.ratio",
        "Share of not yet compacted bytes from which on a compacted topic is worth a pass.",
    ),
    (
        "min.compaction.lag.ms", _T.LONG, 0, _range(0, LONG_MAX), "log.cleaner.min.compaction.lag.ms",
        "A record of a compacted topic is left alone for at least this long.",
    ),
    (
        "min.insync.replicas", _T.INT, 1, _range(1, INT_MAX), "min.insync.replicas",
        "No effect: one durable log stands for all replicas, so acks=all never waits for others.",
    ),
    ("preallocate", _T.BOOLEAN, "false", _BOOLEAN, "log.preallocate", _NO_SEGMENTS),
    (
        "remote.log.copy.disable", _T.BOOLEAN, "false", _BOOLEAN, "",
        "No effect: the bucket is where all data lives, not a second tier.",
    ),
    (
        "remote.log.delete.on.disable", _T.BOOLEAN, "false", _BOOLEAN, "",
        "No effect: the bucket is where all data lives, not a second tier.",
    ),
    (
        "remote.storage.enable", _T.BOOLEAN, "false", _BOOLEAN, "",
        "Stays false: Kafka's second tier is not needed where the bucket holds everything.",
    ),
    (
        "retention.bytes", _T.LONG, -1, _ANY, "log.retention.bytes",
        "Size of a partition beyond which its oldest data expires; -1 sets no limit. Whole ranges go at a time.",
    ),
    (
        "retention.ms", _T.LONG, 604800000, _range(-1, LONG_MAX), "log.retention.ms",
        "Age beyond which data expires, by the largest timestamp of a range; -1 keeps it for ever.",
    ),
    ("segment.bytes", _T.INT, 1073741824, _range(1048576, INT_MAX), "log.segment.bytes", _NO_SEGMENTS),
    ("segment.index.bytes", _T.INT, 10485760, _range(4, INT_MAX), "log.index.size.max.bytes", _NO_SEGMENTS),
    ("segment.jitter.ms", _T.LONG, 0, _range(0, LONG_MAX), "log.roll.jitter.ms", _NO_SEGMENTS),
    ("segment.ms", _T.LONG, 604800000, _range(1, LONG_MAX), "log.roll.ms", _NO_SEGMENTS),
    (
        "unclean.leader.election.enable", _T.BOOLEAN, "false", _BOOLEAN, "unclean.leader.election.enable",
        "No effect: a new owner always has every acknowledged record.",
    ),
)  # fmt: skip

TOPIC_CONFIGS: Final[Mapping[str, TopicConfig]] = {
    name: TopicConfig(
        name=name, type=kind, default=str(default), check=check, allowed=allowed, doc=doc, synonym=synonym
    )
    for name, kind, default, (check, allowed), synonym, doc in _ROWS
}
"""All topic configs, in the order of their names."""

_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[fFdD]?")


def parse(name: str, text: str) -> Value:
    """The value of config `name` in its type, blanks around it ignored.

    Raises ClientFault(INVALID_CONFIG) with Kafka's message for an unknown name, a wrong type or a forbidden value.
    """
    config = TOPIC_CONFIGS.get(name)
    if config is None:
        raise ClientFault(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {name}")
    try:
        value = _PARSERS[config.type](text.strip())
        config.check(value)
    except BadValue as error:
        raise ClientFault(
            ErrorCode.INVALID_CONFIG, f"Invalid value {text} for configuration {name}: {error}"
        ) from error
    return value


def value_of(configs: Mapping[str, str], name: str) -> Value:
    """The value that holds for `name`: what was set, else the default."""
    return parse(name, configs.get(name, TOPIC_CONFIGS[name].default))


def validate(configs: Mapping[str, str], only: Collection[str] | None = None) -> None:
    """Check values one by one (`only` these, if given) and then against each other, with the others that hold.

    Raises ClientFault(INVALID_CONFIG). Values that were accepted once are not judged again by themselves, so that a
    stricter release never locks a topic.
    """
    for name in configs if only is None else only:
        parse(name, configs[name])
    shortest, longest = value_of(configs, "min.compaction.lag.ms"), value_of(configs, "max.compaction.lag.ms")
    assert isinstance(shortest, int)
    assert isinstance(longest, int)
    if shortest > longest:
        raise ClientFault(
            ErrorCode.INVALID_CONFIG,
            f"conflict topic config setting min.compaction.lag.ms ({shortest}) > max.compaction.lag.ms ({longest})",
        )
    if value_of(configs, "remote.storage.enable"):
        raise ClientFault(
            ErrorCode.INVALID_CONFIG,
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage.",
        )


def _parse_boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadValue("Expected value to be either true or false")
    return text.lower() == "true"


def _parse_whole(text: str, high: int, kind: str) -> int:
    value = int(text) if _WHOLE.fullmatch(text) and len(text) <= 20 else None
    if value is None or not -high - 1 <= value <= high:
        raise BadValue(f"Not a number of type {kind}")
    return value


def _parse_double(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise BadValue("Not a number of type DOUBLE")
    return float(text.rstrip("fFdD"))


def _parse_list(text: str) -> tuple[str, ...]:
    """Duplicates go, as in Kafka; an empty text is an empty list, an empty element is refused."""
    if not text:
        return ()
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if "" in words:
        raise BadValue("values must not be empty.")
    return words


_PARSERS: Final[Mapping[ConfigType, Callable[[str], Value]]] = {
    _T.BOOLEAN: _parse_boolean,
    _T.STRING: lambda text: text,
    _T.INT: lambda text: _parse_whole(text, INT_MAX, "INT"),
    _T.LONG: lambda text: _parse_whole(text, LONG_MAX, "LONG"),
    _T.DOUBLE: _parse_double,
    _T.LIST: _parse_list,
}

__all__ = ["TOPIC_CONFIGS", "BadValue", "ConfigType", "TopicConfig", "parse", "validate", "value_of"]
