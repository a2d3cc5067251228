"""What this broker serves: one row per API. ApiVersions, the front and docs/protocol.md read this table and no other.

Handlers are imported when an API is first asked for, so that a broker that nobody administers does not pay for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from automq_broker.desk.context import RequestContext
from automq_broker.wire import index as wire_index

Handle = Callable[[Any, RequestContext], Any]


@dataclass(frozen=True, slots=True)
class Served:
    """One API: the versions served, and `module:function` of its handler. `advertised_min` differs for Produce only."""

    min_version: int
    max_version: int
    handler: str
    advertised_min: int | None = None

    def load(self) -> Handle:
        """Import the handler."""
        module, _, function = self.handler.partition(":")
        handle: Handle = getattr(import_module(f"automq_broker.desk.{module}"), function or "handle")
        return handle


SERVED: dict[int, Served] = {
    0: Served(3, 13, "produce", advertised_min=0),
    1: Served(4, 18, "fetch"),
    2: Served(1, 11, "list_offsets"),
    3: Served(0, 13, "metadata"),
    8: Served(2, 10, "offsets:offset_commit"),
    9: Served(1, 10, "offsets:offset_fetch"),
    10: Served(0, 6, "find_coordinator"),
    11: Served(0, 9, "groups:join_group"),
    12: Served(0, 4, "groups:heartbeat"),
    13: Served(0, 5, "groups:leave_group"),
    14: Served(0, 5, "groups:sync_group"),
    15: Served(0, 6, "groups:describe_groups"),
    16: Served(0, 5, "groups:list_groups"),
    18: Served(0, 4, "api_versions"),
    19: Served(2, 7, "create_topics"),
    20: Served(1, 6, "delete_topics"),
    21: Served(0, 2, "delete_records"),
    22: Served(0, 5, "init_producer_id"),
    23: Served(2, 4, "offset_for_leader_epoch"),
    32: Served(1, 4, "describe_configs"),
    33: Served(0, 2, "alter_configs"),
    35: Served(1, 5, "describe_log_dirs"),
    37: Served(0, 3, "create_partitions"),
    42: Served(0, 2, "groups:delete_groups"),
    43: Served(0, 2, "elect_leaders"),
    44: Served(0, 1, "incremental_alter_configs"),
    45: Served(0, 1, "reassignments:alter"),
    46: Served(0, 0, "reassignments:list_ongoing"),
    47: Served(0, 0, "offsets:offset_delete"),
    55: Served(0, 2, "describe_quorum"),
    60: Served(0, 2, "describe_cluster"),
    61: Served(0, 0, "describe_producers"),
    64: Served(0, 0, "unregister_broker"),
    75: Served(0, 0, "describe_topic_partitions"),
}


def advertised() -> dict[int, tuple[int, int]]:
    """Key -> (min, max) as ApiVersions tells it."""
    return {
        key: (served.min_version if served.advertised_min is None else served.advertised_min, served.max_version)
        for key, served in SERVED.items()
    }


def accepted() -> frozenset[tuple[int, int]]:
    """Every (key, version) that is decoded at all; any other closes the connection."""
    return frozenset(
        (key, version)
        for key, served in SERVED.items()
        for version in range(served.min_version, served.max_version + 1)
    )


def name(api_key: int) -> str:
    """Kafka's name of the API, for metrics and logs."""
    entry = wire_index.APIS.get(api_key)
    return f"key {api_key}" if entry is None else entry.name


__all__ = ["SERVED", "Handle", "Served", "accepted", "advertised", "name"]
