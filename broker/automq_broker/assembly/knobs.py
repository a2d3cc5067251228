"""Settings cut into the small frozen values that each room takes. Nobody below reads the settings themselves."""

from automq_broker.desk.config_rows import effective
from automq_broker.desk.context import BrokerConfigs, DeskSettings
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.start import Budgets, TopicSettings
from automq_broker.log.admission import LogSettings
from automq_broker.meta.rows import TopicRow
from automq_broker.settings import Settings


def engine_knobs(settings: Settings) -> EngineKnobs:
    """When to upload, compact, expire, delete."""
    return EngineKnobs(
        upload_threshold_bytes=settings.upload_threshold_bytes,
        upload_interval_s=settings.bucket.upload_interval_ms / 1000,
        split_size_bytes=settings.bucket.split_size,
        block_size_bytes=settings.bucket.block_size,
        object_size_bytes_max=settings.bucket.part_size,
        retention_interval_s=settings.topics.log_retention_check_interval_ms / 1000,
        compaction_interval_s=settings.bucket.set_compaction_interval_minutes * 60,
        delete_grace_ms=settings.bucket.delete_retention_minutes * 60_000,
    )


def budgets(settings: Settings) -> Budgets:
    """Memory of the caches."""
    return Budgets(tail_cache_bytes=settings.cache.wal_cache_size, block_cache_bytes=settings.cache.block_cache_size)


def desk_settings(settings: Settings) -> DeskSettings:
    """What answers depend on."""
    return DeskSettings(
        node_id=settings.node.node_id,
        rack=settings.node.broker_rack,
        auto_create_topics=settings.topics.auto_create_topics_enable,
        num_partitions=settings.topics.num_partitions,
        offsets_topic_partitions=settings.groups.offsets_topic_num_partitions,
        delete_topic_enable=settings.topics.delete_topic_enable,
        fetch_max_bytes=settings.network.fetch_max_bytes,
        message_max_bytes=settings.topics.message_max_bytes,
    )


def topic_settings(configs: BrokerConfigs, producer_id_expiration_ms: int) -> TopicSettings:
    """How a topic's own configs, over the broker's, become a log's settings."""

    def config_of(topic: TopicRow, name: str) -> str:
        return effective(topic.configs, name, configs)

    def settings_of(topic: TopicRow) -> LogSettings:
        return LogSettings(
            max_message_bytes=int(config_of(topic, "max.message.bytes")),
            timestamp_type=config_of(topic, "message.timestamp.type"),
            timestamp_before_max_ms=int(config_of(topic, "message.timestamp.before.max.ms")),
            timestamp_after_max_ms=int(config_of(topic, "message.timestamp.after.max.ms")),
            compression_type=config_of(topic, "compression.type"),
            is_compacted="compact" in config_of(topic, "cleanup.policy").split(",") and not topic.is_internal,
            producer_id_expiration_ms=producer_id_expiration_ms,
        )

    return TopicSettings(settings_of=settings_of, config_of=config_of)


__all__ = ["budgets", "desk_settings", "engine_knobs", "topic_settings"]
