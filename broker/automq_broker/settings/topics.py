"""Defaults of topics, and what clients may do to them."""

from typing import Literal

from automq_broker.settings.fields import INT_MAX, LONG_MAX, MIB, Group, Update, boolean, integer, long, names, text

_CLUSTER = Update.CLUSTER_WIDE
_CODECS = ("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")


class TopicSettings(Group):
    """The values that a topic has unless its own configs say otherwise."""

    num_partitions: int = integer(
        "num.partitions",
        1,
        low=1,
        meaning="Partitions of a topic that is created without a number.",
        why="Kafka's default.",
    )
    default_replication_factor: int = integer(
        "default.replication.factor",
        1,
        low=1,
        meaning="Accepted and reported; there is always one broker per partition and the bucket holds the copies.",
        why="Kafka's default.",
    )
    auto_create_topics_enable: bool = boolean(
        "auto.create.topics.enable",
        True,
        meaning="Whether asking for a topic that does not exist creates it.",
        why="Kafka's default: first tries work; switch off where names are governed.",
    )
    delete_topic_enable: bool = boolean(
        "delete.topic.enable",
        True,
        meaning="Whether topics may be deleted.",
        why="Kafka's default; false refuses every DeleteTopics.",
    )
    message_max_bytes: int = integer(
        "message.max.bytes",
        MIB + 12,
        low=0,
        unit="bytes",
        update=_CLUSTER,
        meaning="Largest record batch as sent, that is after compression; a larger one is refused.",
        why="Kafka's default.",
    )
    compression_type: Literal["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"] = text(
        "compression.type",
        "producer",
        choices=_CODECS,
        update=_CLUSTER,
        meaning="producer stores batches as they were sent; a codec's name is accepted and means the same for now.",
        why="producer: no byte of a batch is touched.",
    )
    log_cleanup_policy: tuple[str, ...] = names(
        "log.cleanup.policy",
        ("delete",),
        choices=("compact", "delete"),
        update=_CLUSTER,
        meaning="Whether old records are deleted by age and size.",
        why="delete, as Kafka's.",
    )
    log_retention_ms: int | None = long(
        "log.retention.ms",
        None,
        unit="ms",
        update=_CLUSTER,
        low=-1,
        high=LONG_MAX,
        synonyms=("log.retention.minutes", "log.retention.hours"),
        meaning="Age above which records are deleted; -1 keeps them for ever.",
        why="Unset: log.retention.minutes counts, then log.retention.hours.",
    )
    log_retention_minutes: int | None = integer(
        "log.retention.minutes",
        None,
        unit="min",
        low=-1,
        synonyms=("log.retention.hours",),
        meaning="The same in minutes; log.retention.ms comes first.",
        why="Unset: log.retention.hours counts.",
    )
    log_retention_hours: int = integer(
        "log.retention.hours",
        168,
        unit="h",
        low=-1,
        high=INT_MAX,
        meaning="The same in hours; the other two come first.",
        why="Kafka's seven days.",
    )
    log_retention_bytes: int = long(
        "log.retention.bytes",
        -1,
        low=-1,
        unit="bytes",
        update=_CLUSTER,
        meaning="Size of a partition above which its oldest records are deleted; -1 is no limit.",
        why="Kafka's default.",
    )
    log_retention_check_interval_ms: int = long(
        "log.retention.check.interval.ms",
        300_000,
        low=1,
        unit="ms",
        meaning="How often expired records are looked for.",
        why="Kafka's five minutes.",
    )
    log_message_timestamp_type: Literal["CreateTime", "LogAppendTime"] = text(
        "log.message.timestamp.type",
        "CreateTime",
        choices=("CreateTime", "LogAppendTime"),
        update=_CLUSTER,
        meaning="Whether records keep the producer's time or get the broker's.",
        why="Kafka's default.",
    )
    log_message_timestamp_before_max_ms: int = long(
        "log.message.timestamp.before.max.ms",
        LONG_MAX,
        low=0,
        unit="ms",
        update=_CLUSTER,
        meaning="How far a producer's time may lie in the past.",
        why="No limit, as Kafka's.",
    )
    log_message_timestamp_after_max_ms: int = long(
        "log.message.timestamp.after.max.ms",
        3_600_000,
        low=0,
        unit="ms",
        update=_CLUSTER,
        meaning="How far a producer's time may lie in the future.",
        why="Kafka's hour.",
    )
    min_insync_replicas: int = integer(
        "min.insync.replicas",
        1,
        low=1,
        update=_CLUSTER,
        meaning="Accepted and reported; an acknowledged record is durable whatever it says.",
        why="Kafka's default.",
    )
    producer_id_expiration_ms: int = integer(
        "producer.id.expiration.ms",
        86_400_000,
        low=1,
        unit="ms",
        meaning="How long a partition remembers the sequence numbers of a silent producer.",
        why="Kafka's day.",
    )
    producer_id_expiration_check_interval_ms: int = integer(
        "producer.id.expiration.check.interval.ms",
        600_000,
        low=1,
        unit="ms",
        meaning="How often silent producers are looked for.",
        why="Kafka's ten minutes.",
    )

    @property
    def retention_ms(self) -> int:
        """The age that counts, of the three settings that can give it; -1 keeps records for ever."""
        if self.log_retention_ms is not None:
            return self.log_retention_ms
        if self.log_retention_minutes is not None:
            return self.log_retention_minutes * 60_000 if self.log_retention_minutes >= 0 else -1
        return self.log_retention_hours * 3_600_000 if self.log_retention_hours >= 0 else -1


__all__ = ["TopicSettings"]
