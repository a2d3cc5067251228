"""Which brokers are to exist: so many, spread over zones, each with a node id of its zone's range."""

from collections.abc import Mapping, Sequence

from automq_operator.names import NODE_IDS_PER_ZONE


def bases(zones: Sequence[str], known: Mapping[str, int]) -> dict[str, int]:
    """The first node id of each zone: what was once given stays, new zones get the next free range.

    A zone that is no longer in the spec keeps its range, so that its brokers can still be emptied, and nobody gets it.
    """
    given = dict(known)
    for zone in zones or ("",):
        if zone not in given:
            given[zone] = max(given.values(), default=-NODE_IDS_PER_ZONE) + NODE_IDS_PER_ZONE
    return given


def spread(count: int, zones: Sequence[str]) -> dict[str, int]:
    """How many brokers of `count` each zone has; earlier zones get what is left over. One less takes the last one away."""
    names = tuple(zones) or ("",)
    return {zone: count // len(names) + (position < count % len(names)) for position, zone in enumerate(names)}


def wanted_node_ids(count: int, zones: Sequence[str], first: Mapping[str, int]) -> dict[int, str]:
    """Node id to zone of the brokers that are to run."""
    return {
        first[zone] + ordinal: zone for zone, replicas in spread(count, zones).items() for ordinal in range(replicas)
    }


__all__ = ["bases", "spread", "wanted_node_ids"]
