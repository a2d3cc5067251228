"""What a handler knows besides the request: who asks, in which version, and what the desk works with."""

import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from automq_broker.contract.config_rows import ConfigRow
from automq_broker.engine.engine import Engine
from automq_broker.engine.metadata_values import Quorum
from automq_broker.kernel.errors import ClientFault, NotMine, Retry
from automq_broker.meta.commands import Command
from automq_broker.ports import Clock, Metadata, Workers
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.engine.groups import GroupCoordinators


R = TypeVar("R")


class BrokerConfigs(Protocol):
    """This broker's settings with the dynamic configs of the metadata on top."""

    def rows(self) -> list[ConfigRow]:
        """Every setting that Kafka or this broker knows."""

    def row(self, name: str) -> ConfigRow | None:
        """One setting by name."""

    def check(self, cluster: Mapping[str, str], broker: Mapping[str, str]) -> None:
        """Whether these dynamic configs would be accepted; raises Refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSettings:
    """The settings that answers depend on; names as in Kafka's broker configs."""

    node_id: int
    rack: str | None = None
    auto_create_topics: bool = True
    num_partitions: int = 1
    offsets_topic_partitions: int = 50
    delete_topic_enable: bool = True
    fetch_max_bytes: int = 55 << 20
    fetch_max_wait_ms: int = 60_000
    message_max_bytes: int = 1_048_588
    max_partitions_per_request: int = 10_000


@dataclass(slots=True, kw_only=True)
class Desk:
    """The stations behind the handlers, joined by assembly."""

    engine: Engine
    metadata: Metadata
    groups: "GroupCoordinators"
    settings: DeskSettings
    clock: Clock
    workers: Workers
    rng: random.Random
    advertised: dict[int, tuple[int, int]]
    broker_configs: BrokerConfigs
    make_uuid: Callable[[], uuid.UUID]
    ask_quorum: Callable[[], Awaitable[Quorum]]
    """How far the brokers are with the metadata; raises Retry when no controller answers."""

    async def submit(self, command: Command[R]) -> R:
        """As Metadata.submit; no controller in time is REQUEST_TIMED_OUT, as a Kafka broker answers it."""
        try:
            return await self.metadata.submit(command)
        except Retry as late:
            raise ClientFault(ErrorCode.REQUEST_TIMED_OUT, str(late)) from late
        except NotMine as other:
            raise ClientFault(ErrorCode.NOT_CONTROLLER, str(other)) from other


@dataclass(slots=True)
class RequestContext:
    """One request's surroundings. Cheap to make: one per request."""

    api_version: int
    client_id: str
    correlation_id: int
    listener: str
    client_host: str
    principal: str
    connection_id: int
    is_on_this_machine: bool
    """The client is a process beside this one."""

    desk: Desk


__all__ = ["BrokerConfigs", "Desk", "DeskSettings", "RequestContext"]
