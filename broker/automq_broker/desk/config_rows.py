"""Configs as rows: a topic's own values over the broker's settings over Kafka's defaults, each with where it came from."""

from collections.abc import Iterable, Mapping

from automq_broker.contract.config_rows import ConfigRow, ConfigSource, ConfigSynonym, ConfigType
from automq_broker.desk.context import BrokerConfigs, RequestContext
from automq_broker.meta.topic_configs import TOPIC_CONFIGS, TopicConfig

_RETENTION_SYNONYMS = ("log.retention.ms", "log.retention.minutes", "log.retention.hours")
_MS_PER = {"log.retention.minutes": 60_000, "log.retention.hours": 3_600_000}


def effective(configs: Mapping[str, str], name: str, broker: BrokerConfigs) -> str:
    """The value of a topic config in force."""
    return configs[name] if name in configs else inherited(TOPIC_CONFIGS[name], broker)[0]


def topic_rows(configs: Mapping[str, str], context: RequestContext) -> list[ConfigRow]:
    """Every topic config, by name."""
    return [_row(config, configs, context.desk.broker_configs) for _, config in sorted(TOPIC_CONFIGS.items())]


def inherited(config: TopicConfig, broker: BrokerConfigs) -> tuple[str, ConfigSource]:
    """What holds where the topic says nothing: the broker's setting of the same meaning, else Kafka's default."""
    if config.name == "retention.ms":
        return _inherited_retention(config, broker)
    row = broker.row(config.synonym) if config.synonym else None
    if row is None or row.value is None:
        return config.default, ConfigSource.DEFAULT
    return row.value, row.source


def _inherited_retention(config: TopicConfig, broker: BrokerConfigs) -> tuple[str, ConfigSource]:
    """Milliseconds win over minutes, minutes over hours."""
    for name in _RETENTION_SYNONYMS:
        row = broker.row(name)
        if (
            row is not None
            and row.value is not None
            and (name not in _MS_PER or row.source is not ConfigSource.DEFAULT)
        ):
            value = int(row.value)
            return str(value if value < 0 else value * _MS_PER.get(name, 1)), row.source
    return config.default, ConfigSource.DEFAULT


def _row(config: TopicConfig, configs: Mapping[str, str], broker: BrokerConfigs) -> ConfigRow:
    value, source = inherited(config, broker)
    if config.name in configs:
        value, source = configs[config.name], ConfigSource.TOPIC
    return ConfigRow(
        name=config.name,
        value=value,
        default=config.default,
        type=ConfigType(int(config.type)),
        source=source,
        origin="",
        is_read_only=False,
        is_sensitive=False,
        doc=config.doc,
        synonyms=tuple(_synonyms(config, configs, broker)),
    )


def _synonyms(config: TopicConfig, configs: Mapping[str, str], broker: BrokerConfigs) -> Iterable[ConfigSynonym]:
    if config.name in configs:
        yield ConfigSynonym(name=config.name, value=configs[config.name], source=ConfigSource.TOPIC)
    row = broker.row(config.synonym) if config.synonym else None
    if row is not None:
        # Retention's default is in hours, which Kafka does not call a synonym of milliseconds.
        is_retention = config.name == "retention.ms"
        yield from (
            synonym for synonym in row.synonyms if not (is_retention and synonym.source is ConfigSource.DEFAULT)
        )


__all__ = ["effective", "inherited", "topic_rows"]
