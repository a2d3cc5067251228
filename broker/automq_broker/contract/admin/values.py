"""Bounds, fields and bases of all questions and answers."""

from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PREFIX: Final = "/v1/"
"""What is below it is the API; pages for people and probes are beside it."""

PROBLEM_TYPE: Final = "application/problem+json"
"""Media type of every answer that is not a success. Source: RFC 9457."""

NODE_ID_MAX: Final = 2**31 - 1
EPOCH_MAX: Final = 2**63 - 1
COUNT_MAX: Final = 2**63 - 1
STOP_SECONDS_MAX: Final = 3600
CONFIGS_MAX: Final = 200
CONFIG_VALUE_MAX: Final = 4096
PAGE_ROWS_MAX: Final = 1000
"""Rows of one page of partitions, and most moves or decisions that one answer names."""


def _whole(value: object) -> object:
    """1.0 is the integer 1, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NodeIdField = Annotated[
    int, Field(ge=0, le=NODE_ID_MAX, description="Kafka's broker id (node.id)."), BeforeValidator(_whole)
]
EpochField = Annotated[
    int,
    Field(ge=0, le=EPOCH_MAX, description="The broker epoch at which the node is expected."),
    BeforeValidator(_whole),
]
SecondsField = Annotated[int, Field(ge=0, le=STOP_SECONDS_MAX), BeforeValidator(_whole)]
CountField = Annotated[int, Field(ge=0, le=COUNT_MAX), BeforeValidator(_whole)]


class Answer(BaseModel):
    """What the API answers; unknown fields are ignored, so that an older reader understands a newer broker."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Question(BaseModel):
    """What the API is asked; an unknown field is refused, because ignoring it could mean doing the wrong thing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Problem(Answer):
    """Why a call was not done. Source: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


__all__ = [
    "CONFIGS_MAX",
    "CONFIG_VALUE_MAX",
    "COUNT_MAX",
    "EPOCH_MAX",
    "NODE_ID_MAX",
    "PAGE_ROWS_MAX",
    "PREFIX",
    "PROBLEM_TYPE",
    "STOP_SECONDS_MAX",
    "Answer",
    "CountField",
    "EpochField",
    "NodeIdField",
    "Problem",
    "Question",
    "SecondsField",
]
