"""The settings of the group coordinator, cut from the user's settings by assembly."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKnobs:
    """Limits and intervals, under Kafka's setting names with Kafka's defaults."""

    group_max_size: int = 2147483647
    """group.max.size: members per group; 2147483647 = no limit."""

    initial_rebalance_delay_ms: int = 3000
    """group.initial.rebalance.delay.ms: the first rebalance of an empty group waits for more members; 0 = off."""

    session_timeout_ms_min: int = 6000
    """group.min.session.timeout.ms"""

    session_timeout_ms_max: int = 1_800_000
    """group.max.session.timeout.ms"""

    new_member_join_timeout_ms: int = 300_000
    """A new member that waits for its first join is dropped after this, because its client may be long gone."""

    offset_metadata_length_max: int = 4096
    """offset.metadata.max.bytes, counted in UTF-16 units as Kafka counts."""

    offsets_retention_ms: int = 7 * 24 * 3600 * 1000
    """offsets.retention.minutes: offsets go this long after their group became empty."""

    offsets_check_interval_ms: int = 600_000
    """offsets.retention.check.interval.ms"""


__all__ = ["GroupKnobs"]
