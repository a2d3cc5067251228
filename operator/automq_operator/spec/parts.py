"""What all parts of the resource are made of: their base, rules for the API server, and types of their fields."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

REPLICAS_MAX: Final = 300
ZONES_MAX: Final = 9


def _rules(*rules: tuple[str, str]) -> dict[str, Any]:
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class Part(BaseModel):
    """Names in camel case, as everywhere in Kubernetes; nothing that is unknown."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


def ruled(*rules: tuple[str, str]) -> ConfigDict:
    """Rules in CEL, each with what is said to whoever breaks it."""
    return ConfigDict(json_schema_extra=_rules(*rules))


FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""An object of Kubernetes' own API, as in a pod template."""

KEY: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"

BUCKET: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$"
PREFIX: Final = r"^([A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*)?$"
ENDPOINT: Final = r"^https?://[^\s?#]+$"

ObjectName = Annotated[str, Field(pattern=_NAME, max_length=253)]
Zone = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=30)]


__all__ = [
    "BUCKET",
    "ENDPOINT",
    "KEY",
    "PREFIX",
    "REPLICAS_MAX",
    "ZONES_MAX",
    "FreeForm",
    "ObjectName",
    "Part",
    "Zone",
    "ruled",
]
