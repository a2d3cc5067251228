"""Text to value and back, per type, with Kafka's rules. Source: ConfigDef.parseType and ConfigDef.convertToString."""

from typing import Any

from automq_broker.contract.config_rows import ConfigType
from automq_broker.settings.fields import Spec

_INTEGERS = (ConfigType.INT, ConfigType.SHORT, ConfigType.LONG)


def parse_value(spec: Spec, text: str) -> Any:
    """The value that `text` means; raises ValueError if it has the wrong type. Ranges are checked by the model."""
    if spec.kind is ConfigType.PASSWORD:
        return text
    trimmed = text.strip()
    if spec.kind is ConfigType.BOOLEAN:
        return _boolean(trimmed)
    if spec.kind in _INTEGERS:
        return int(trimmed) if trimmed.lstrip("+-").isascii() else _refuse(trimmed)
    if spec.kind is ConfigType.DOUBLE:
        return float(trimmed)
    if spec.kind is ConfigType.LIST:
        return _list(spec, trimmed)
    return _chosen(spec, trimmed)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return bool(_refuse(text))


def _list(spec: Spec, text: str) -> tuple[str, ...]:
    entries = tuple(entry.strip() for entry in text.split(",") if entry.strip())
    unknown = [entry for entry in entries if spec.choices and entry not in spec.choices]
    return entries if not unknown else tuple(_refuse(unknown[0]))


def _chosen(spec: Spec, text: str) -> str:
    return text if not spec.choices or text in spec.choices else str(_refuse(text))


def _refuse(text: str) -> Any:
    raise ValueError(text)


def format_value(value: Any) -> str | None:
    """A value as a properties file and DescribeConfigs write it; None stays None."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)


__all__ = ["format_value", "parse_value"]
