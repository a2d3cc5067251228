"""Settings cut into the small frozen values that each room takes. Nobody below reads the settings themselves."""

from dataclasses import replace

from automq_broker.adapters.wal_bulks import BULK_BYTES_MAX, BULKS_IN_FLIGHT_MAX
from automq_broker.cluster.balance import Aim, Goal, Rules
from automq_broker.cluster.moves import Pacing
from automq_broker.desk.config_rows import effective
from automq_broker.desk.context import BrokerConfigs, DeskSettings
from automq_broker.engine.balancing import BalancerKnobs
from automq_broker.engine.knobs import MIB, EngineKnobs
from automq_broker.engine.running import Budgets, TopicSettings
from automq_broker.lake.compaction import CompactionKnobs
from automq_broker.log.admission import LogSettings
from automq_broker.meta.rows import TopicRow
from automq_broker.meta.topic_configs import TOPIC_CONFIGS
from automq_broker.settings import Settings

_GOALS = {
    "NetworkInUsageDistributionGoal": Goal.NETWORK_IN,
    "NetworkOutUsageDistributionGoal": Goal.NETWORK_OUT,
    "LeaderCountDistributionGoal": Goal.LEADERS,
}
_RESTED_LOOKS = 5
"""Looks for which a partition that moved stays where it is."""


def engine_knobs(settings: Settings) -> EngineKnobs:
    """When to upload, compact, expire, delete; and how a log without a disk is written."""
    knobs = EngineKnobs(
        upload_threshold_bytes=settings.upload_threshold_bytes,
        upload_interval_s=settings.bucket.upload_interval_ms / 1000,
        split_size_bytes=settings.bucket.split_size,
        block_size_bytes=settings.bucket.block_size,
        object_size_bytes_max=settings.bucket.part_size,
        upload_bytes_max=settings.cache.upload_memory_size,
        retention_interval_s=settings.topics.log_retention_check_interval_ms / 1000,
        compaction_interval_s=settings.bucket.set_compaction_interval_minutes * 60,
        compaction=CompactionKnobs(
            own_bytes=settings.bucket.set_compaction_split_size,
            force_age_ms=settings.bucket.set_compaction_force_split_minutes * 60_000,
            inputs_max=settings.bucket.set_compaction_max_num,
        ),
        delete_grace_ms=settings.bucket.delete_retention_minutes * 60_000,
        sweep_interval_s=settings.bucket.sweep_interval_ms / 1000,
        producer_check_interval_s=settings.topics.producer_id_expiration_check_interval_ms / 1000,
    )
    return knobs if settings.wal_bucket_uri is None else _for_bulks(knobs)


def _for_bulks(knobs: EngineKnobs) -> EngineKnobs:
    """A request costs money and a tenth of a second: four bulks a second, many on their way, and quiet when idle.

    No block proves the last acks durable: a bulk is there as a whole or not at all.
    """
    return replace(
        knobs,
        group_interval_s=0.25,
        group_bytes_enough=BULK_BYTES_MAX,
        groups_in_flight_max=BULKS_IN_FLIGHT_MAX,
        in_flight_bytes_max=64 * MIB,
        wal_heartbeat_s=5.0,
        idle_block_delay_s=3600.0,
    )


def balancer_knobs(settings: Settings) -> BalancerKnobs:
    """When the controller moves partitions by itself."""
    given = settings.balancer
    aims = {
        Goal.NETWORK_IN: Aim(
            goal=Goal.NETWORK_IN,
            floor=given.autobalancer_controller_network_in_usage_distribution_detect_threshold,
            deviation=given.autobalancer_controller_network_in_distribution_detect_avg_deviation,
            trivial=given.autobalancer_controller_network_in_trivial_change_ratio,
        ),
        Goal.NETWORK_OUT: Aim(
            goal=Goal.NETWORK_OUT,
            floor=given.autobalancer_controller_network_out_usage_distribution_detect_threshold,
            deviation=given.autobalancer_controller_network_out_distribution_detect_avg_deviation,
            trivial=given.autobalancer_controller_network_out_trivial_change_ratio,
        ),
        Goal.LEADERS: Aim(goal=Goal.LEADERS, slack=1.0),
    }
    chosen = dict.fromkeys(_GOALS[name.rpartition(".")[2]] for name in given.autobalancer_controller_goals)
    interval_s = given.autobalancer_controller_anomaly_detect_interval_ms / 1000
    return BalancerKnobs(
        is_enabled=given.autobalancer_controller_enable,
        rules=Rules(
            aims=tuple(aims[goal] for goal in chosen), moves_max=given.autobalancer_controller_execution_concurrency
        ),
        pacing=Pacing(
            interval_s=interval_s,
            batch_interval_s=given.autobalancer_controller_execution_interval_ms / 1000,
            rest_s=_RESTED_LOOKS * interval_s,
        ),
        excluded_nodes=frozenset(given.autobalancer_controller_exclude_broker_ids),
        excluded_topics=frozenset(given.autobalancer_controller_exclude_topics),
        stale_s=given.autobalancer_controller_metrics_delay_ms / 1000,
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
        limit = int(config_of(topic, "max.message.bytes"))
        if topic.is_internal:  # written by this broker: nothing to check and, as in Kafka, never recompressed
            return LogSettings(max_message_bytes=limit, producer_id_expiration_ms=producer_id_expiration_ms)
        compression_type = config_of(topic, "compression.type")
        return LogSettings(
            max_message_bytes=limit,
            timestamp_type=config_of(topic, "message.timestamp.type"),
            timestamp_before_max_ms=int(config_of(topic, "message.timestamp.before.max.ms")),
            timestamp_after_max_ms=int(config_of(topic, "message.timestamp.after.max.ms")),
            compression_type=compression_type,
            compression_level=level_of(compression_type, topic),
            is_compacted="compact" in config_of(topic, "cleanup.policy").split(","),
            producer_id_expiration_ms=producer_id_expiration_ms,
        )

    def level_of(compression_type: str, topic: TopicRow) -> int | None:
        name = f"compression.{compression_type}.level"
        if name not in TOPIC_CONFIGS:
            return None
        level = config_of(topic, name)
        return None if level == TOPIC_CONFIGS[name].default else int(level)

    return TopicSettings(settings_of=settings_of, config_of=config_of)


__all__ = ["balancer_knobs", "budgets", "desk_settings", "engine_knobs", "topic_settings"]
