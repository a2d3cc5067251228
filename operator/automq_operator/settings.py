"""The operator's own settings, from its environment alone: a chart writes them, nothing else configures it."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

_PREFIX: Final = "AUTOMQ_OPERATOR_"


class Settings(BaseModel):
    """Each field is read from AUTOMQ_OPERATOR_ and its name in upper case."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    namespace: str = "default"
    """The operator's own namespace, where its Lease is."""
    identity: str = "automq-operator"
    """Name of this pod: who holds the Lease."""
    watch_namespaces: str = ""
    """Namespaces whose resources are looked after, with commas between; empty: all."""
    image_repository: str = "automq/broker"
    """Brokers' image without its tag."""
    version: str = "0.1.0"
    """Tag of the brokers' image for resources that name none."""
    adopter_priority_class: str = ""
    """PriorityClass of adopters, with preemptionPolicy Never; empty where none could be made."""
    interval_seconds: float = Field(default=10.0, ge=1.0, le=30.0)
    """How often brokers' figures are read where the watermark decides; every 30 s elsewhere. Changes are acted upon at once."""
    port: int = Field(default=8080, ge=1, le=65535)
    """Where /healthz and /metrics are served."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Namespaces to watch; () for all."""
        return tuple(filter(None, (each.strip() for each in self.watch_namespaces.split(","))))


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Raises pydantic.ValidationError for what is unknown or impossible."""
    given = {key.removeprefix(_PREFIX).lower(): value for key, value in environment.items() if key.startswith(_PREFIX)}
    return Settings.model_validate(given)


__all__ = ["Settings", "settings_from"]
