"""Consumer groups and their offsets."""

from automq_broker.settings.fields import INT_MAX, Group, integer


class GroupSettings(Group):
    """Limits and times of the group coordinators."""

    group_min_session_timeout_ms: int = integer(
        "group.min.session.timeout.ms",
        6_000,
        low=1,
        unit="ms",
        meaning="Shortest session that a member may ask for.",
        why="Kafka's default.",
    )
    group_max_session_timeout_ms: int = integer(
        "group.max.session.timeout.ms",
        1_800_000,
        low=1,
        unit="ms",
        meaning="Longest session that a member may ask for.",
        why="Kafka's half hour.",
    )
    group_initial_rebalance_delay_ms: int = integer(
        "group.initial.rebalance.delay.ms",
        3_000,
        low=0,
        unit="ms",
        meaning="How long the first join of an empty group waits for others.",
        why="Kafka's default, which spares a starting fleet many rebalances; 0 is good for tests.",
    )
    group_max_size: int = integer(
        "group.max.size",
        INT_MAX,
        low=1,
        meaning="Most members of one group.",
        why="No limit, as Kafka's.",
    )
    offsets_topic_num_partitions: int = integer(
        "offsets.topic.num.partitions",
        50,
        low=1,
        meaning="Partitions of __consumer_offsets; fixed once the topic exists.",
        why="Kafka's default.",
    )
    offsets_retention_minutes: int = integer(
        "offsets.retention.minutes",
        10_080,
        low=1,
        unit="min",
        meaning="How long offsets of an empty group are kept.",
        why="Kafka's seven days.",
    )
    offsets_retention_check_interval_ms: int = integer(
        "offsets.retention.check.interval.ms",
        600_000,
        low=1,
        unit="ms",
        meaning="How often expired offsets are looked for.",
        why="Kafka's ten minutes.",
    )
    offset_metadata_max_bytes: int = integer(
        "offset.metadata.max.bytes",
        4096,
        low=0,
        unit="bytes",
        meaning="Longest note that a client may store with an offset.",
        why="Kafka's default.",
    )
    snapshot_bytes: int = integer(
        "automq.group.snapshot.bytes",
        64 << 20,
        low=1 << 20,
        unit="bytes",
        meaning="A coordinator writes its live state anew, and drops what lies before, after this many bytes.",
        why="64 MiB: a restart reads at most about this much per partition.",
    )
    snapshot_interval_ms: int = integer(
        "automq.group.snapshot.interval.ms",
        600_000,
        low=1000,
        unit="ms",
        meaning="The same, after this time if anything changed.",
        why="Ten minutes.",
    )


__all__ = ["GroupSettings"]
