"""The answer of the state machine to one command."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from automq_broker.meta.records import Record

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Decision(Generic[R_co]):
    """Records to replay, in order (none: the command was already carried out), and what the sender is told."""

    records: tuple[Record, ...]
    result: R_co


__all__ = ["Decision"]
