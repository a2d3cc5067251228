"""The log's level follows automq.log.level while the broker runs."""

from collections.abc import Sequence

from automq_broker.adapters.logging_setup import set_level
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.meta.records import ConfigsChanged, Record
from automq_broker.ports import Metadata


def follow_log_level(configs: LiveConfigs, metadata: Metadata) -> None:
    """Take the level that the dynamic configs give now, and each time that they change."""

    def take() -> None:
        set_level(configs.settings.node.log_level)

    def applied(records: Sequence[Record]) -> None:
        if any(isinstance(record, ConfigsChanged) for record in records):
            take()

    metadata.subscribe(applied, lambda _: take())
    take()


__all__ = ["follow_log_level"]
