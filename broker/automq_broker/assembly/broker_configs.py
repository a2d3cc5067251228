"""The broker's settings as they are now: the static ones with the dynamic configs of the metadata on top."""

import logging
from collections.abc import Mapping

from automq_broker.contract.config_rows import ConfigRow
from automq_broker.kernel.errors import Refused
from automq_broker.meta.rows import ResourceType
from automq_broker.ports import Metadata
from automq_broker.settings import Settings

log = logging.getLogger("automq.broker")


class LiveConfigs:
    """Answers DescribeConfigs and the topics' defaults; recomputed when a broker config changed, not per question."""

    def __init__(self, settings: Settings, metadata: Metadata) -> None:
        self._static = settings
        self._metadata = metadata
        self._seen: tuple[Mapping[str, str], Mapping[str, str]] | None = None
        self._settings = settings
        self._rows: dict[str, ConfigRow] = {}

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        self._refresh()
        return self._settings

    def rows(self) -> list[ConfigRow]:
        """Every setting that Kafka or this broker knows."""
        self._refresh()
        return list(self._rows.values())

    def row(self, name: str) -> ConfigRow | None:
        """One setting by name."""
        self._refresh()
        return self._rows.get(name)

    def check(self, cluster: Mapping[str, str], broker: Mapping[str, str]) -> None:
        """Whether these dynamic configs would be accepted; raises Refused."""
        self._static.with_dynamic(cluster=cluster, broker=broker)

    def _refresh(self) -> None:
        state = self._metadata.state
        cluster = state.configs(ResourceType.BROKER, "")
        broker = state.configs(ResourceType.BROKER, str(self._static.node.node_id))
        if self._seen == (cluster, broker) and self._rows:
            return
        self._seen = (cluster, broker)
        try:
            self._settings = self._static.with_dynamic(cluster=cluster, broker=broker)
        except Refused:
            self._settings = self._static.with_dynamic(cluster=self._taken(cluster), broker=self._taken(broker))
        self._rows = {row.name: row for row in self._settings.describe(with_foreign=True)}

    def _taken(self, configs: Mapping[str, str]) -> dict[str, str]:
        """Those that this broker takes: a broker of another version may have let the others in, which ends nobody."""
        found = {}
        for name, value in configs.items():
            try:
                self._static.with_dynamic(cluster={name: value})
            except Refused as refused:
                log.warning("dynamic config without effect here", extra={"key": name, "reason": str(refused)})
            else:
                found[name] = value
        return found


__all__ = ["LiveConfigs"]
