"""The table of topic configs against what Kafka 4.3.0 itself says (LogConfig, read off its jar)."""

import pytest
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.topic_configs import TOPIC_CONFIGS, ConfigType, parse, validate, value_of
from automq_broker.wire.codes import ErrorCode

# Name, type, default, allowed values, broker setting; source: LogConfig.configDefCopy() and ServerTopicConfigSynonyms.
KAFKA_4_3 = """
cleanup.policy | LIST | delete | [compact, delete] | log.cleanup.policy
compression.gzip.level | INT | -1 | [1,...,9] or -1 | compression.gzip.level
compression.lz4.level | INT | 9 | [1,...,17] | compression.lz4.level
compression.type | STRING | producer | [uncompressed, zstd, lz4, snappy, gzip, producer] | compression.type
compression.zstd.level | INT | 3 | [-131072,...,22] | compression.zstd.level
delete.retention.ms | LONG | 86400000 | [0,...] | log.cleaner.delete.retention.ms
file.delete.delay.ms | LONG | 60000 | [0,...] | log.segment.delete.delay.ms
flush.messages | LONG | 9223372036854775807 | [1,...] | log.flush.interval.messages
flush.ms | LONG | 9223372036854775807 | [0,...] | log.flush.interval.ms
follower.replication.throttled.replicas | LIST | | * |
index.interval.bytes | INT | 4096 | [0,...] | log.index.interval.bytes
leader.replication.throttled.replicas | LIST | | * |
local.retention.bytes | LONG | -2 | [-2,...] | log.local.retention.bytes
local.retention.ms | LONG | -2 | [-2,...] | log.local.retention.ms
max.compaction.lag.ms | LONG | 9223372036854775807 | [1,...] | log.cleaner.max.compaction.lag.ms
max.message.bytes | INT | 1048588 | [0,...] | message.max.bytes
message.timestamp.after.max.ms | LONG | 3600000 | [0,...] | log.message.timestamp.after.max.ms
message.timestamp.before.max.ms | LONG | 9223372036854775807 | [0,...] | log.message.timestamp.before.max.ms
message.timestamp.type | STRING | CreateTime | [CreateTime, LogAppendTime] | log.message.timestamp.type
min.cleanable.dirty.ratio | DOUBLE | 0.5 | [0,...,1] | log.cleaner.min.cleanable.ratio
min.compaction.lag.ms | LONG | 0 | [0,...] | log.cleaner.min.compaction.lag.ms
min.insync.replicas | INT | 1 | [1,...] | min.insync.replicas
preallocate | BOOLEAN | false | true, false | log.preallocate
remote.log.copy.disable | BOOLEAN | false | true, false |
remote.log.delete.on.disable | BOOLEAN | false | true, false |
remote.storage.enable | BOOLEAN | false | true, false |
retention.bytes | LONG | -1 | | log.retention.bytes
retention.ms | LONG | 604800000 | [-1,...] | log.retention.ms
segment.bytes | INT | 1073741824 | [1048576,...] | log.segment.bytes
segment.index.bytes | INT | 10485760 | [4,...] | log.index.size.max.bytes
segment.jitter.ms | LONG | 0 | [0,...] | log.roll.jitter.ms
segment.ms | LONG | 604800000 | [1,...] | log.roll.ms
unclean.leader.election.enable | BOOLEAN | false | true, false | unclean.leader.election.enable
"""


def message_of(name, text):
    with pytest.raises(ClientFault) as caught:
        parse(name, text)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    return caught.value.message


def test_the_table_is_kafkas():
    rows = [[cell.strip() for cell in line.split("|")] for line in KAFKA_4_3.strip().splitlines()]
    assert [row[0] for row in rows] == list(TOPIC_CONFIGS)
    for name, kind, default, allowed, synonym in rows:
        config = TOPIC_CONFIGS[name]
        assert (config.type.name, config.default, config.synonym) == (kind, default, synonym), name
        assert config.allowed.startswith("*") if allowed == "*" else config.allowed == allowed, name
        assert config.doc.endswith("."), name
        parse(name, config.default)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nope", "1", "Unknown topic config name: nope"),
        ("retention.ms", "x", "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ("retention.ms", "1_000", "Invalid value 1_000 for configuration retention.ms: Not a number of type LONG"),
        ("flush.ms", "1e3", "Invalid value 1e3 for configuration flush.ms: Not a number of type LONG"),
        (
            "max.message.bytes",
            "99999999999",
            "Invalid value 99999999999 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "preallocate",
            "yes",
            "Invalid value yes for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "nan",
            "Invalid value nan for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.zstd.level",
            "23",
            "Invalid value 23 for configuration compression.zstd.level: Value must be no more than 22",
        ),
        (
            "segment.bytes",
            "1000",
            "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            "cleanup.policy",
            "foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "message.timestamp.type",
            "foo",
            "Invalid value foo for configuration message.timestamp.type: "
            "String must be one of: CreateTime, LogAppendTime",
        ),
    ],
)
def test_refusals_say_what_kafka_says(name, text, message):
    assert message_of(name, text) == message


def test_lists_and_replicas_are_checked_element_by_element():
    assert "must not be empty" in message_of("cleanup.policy", "delete,")
    assert "must be the literal '*'" in message_of("leader.replication.throttled.replicas", "bad")
    assert parse("leader.replication.throttled.replicas", "*") == ("*",)
    assert parse("leader.replication.throttled.replicas", "1:2, 3:4") == ("1:2", "3:4")
    assert parse("cleanup.policy", "") == ()
    assert parse("cleanup.policy", " compact , delete,compact ") == ("compact", "delete")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("retention.ms", " +5 ", 5),
        ("retention.ms", "9223372036854775807", 9223372036854775807),
        ("preallocate", " TRUE ", True),
        ("min.cleanable.dirty.ratio", "0.5f", 0.5),
        ("min.cleanable.dirty.ratio", "1", 1.0),
        ("retention.bytes", "-9223372036854775808", -(1 << 63)),
        ("compression.type", "zstd", "zstd"),
    ],
)
def test_values_have_their_types(name, text, value):
    parsed = parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_values_are_checked_against_each_other():
    validate({"min.compaction.lag.ms": "5", "max.compaction.lag.ms": "5"})
    with pytest.raises(ClientFault, match=r"conflict .* \(10\) > max.compaction.lag.ms \(5\)"):
        validate({"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})
    with pytest.raises(ClientFault, match="Tiered Storage"):
        validate({"remote.storage.enable": "true"})


def test_values_accepted_once_are_not_judged_again_by_themselves():
    validate({"some.older.name": "x", "retention.ms": "1"}, only=["retention.ms"])


def test_what_was_set_holds_else_the_default():
    assert value_of({}, "retention.ms") == 604800000
    assert value_of({"retention.ms": "7"}, "retention.ms") == 7


def test_types_have_kafkas_numbers():
    assert {kind.name: kind.value for kind in ConfigType} == {
        "BOOLEAN": 1,
        "STRING": 2,
        "INT": 3,
        "LONG": 5,
        "DOUBLE": 6,
        "LIST": 7,
    }
