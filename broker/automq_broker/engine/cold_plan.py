"""Which blocks of a cold read are fetched together. Pure: places in, places out."""

from automq_broker.lake.objects import IndexEntry
from automq_broker.meta.rows import ObjectRow

StreamEntries = list[IndexEntry]
Place = tuple[ObjectRow, IndexEntry]
"""Where a block lies: its object, and what the index says of it."""


def whole(places: list[Place], max_bytes: int) -> list[Place]:
    """Without the last block if `max_bytes` would cut it and the others are enough of an answer."""
    before = sum(entry.length for _, entry in places[:-1])
    is_cut = bool(places) and before + places[-1][1].length > max_bytes
    return places[:-1] if is_cut and before * 2 >= max_bytes else places


def without_rest(places: list[Place], rest_bytes: int) -> list[Place]:
    """Without a last stretch below `rest_bytes` behind others: it would cost a GET of its own, and comes with the next."""
    stretches = _stretches(places)
    if len(stretches) < 2 or sum(entry.length for entry in stretches[-1][1]) >= rest_bytes:
        return places
    return places[: -len(stretches[-1][1])]


def runs(places: list[Place], get_bytes: int) -> list[tuple[ObjectRow, StreamEntries]]:
    """Blocks that touch each other in one object, in runs of about `get_bytes` each: equal ones, so that no rest is left.

    A run is at most half as large again; one block that is larger is a run of its own.
    """
    found: list[tuple[ObjectRow, StreamEntries]] = []
    for row, stretch in _stretches(places):
        left = sum(entry.length for entry in stretch)
        pieces = max(1, round(left / get_bytes))
        run: StreamEntries = []
        size = 0
        for entry in stretch:
            if run and size + entry.length // 2 > left / pieces:
                found.append((row, run))
                left, pieces = left - size, max(1, pieces - 1)
                run, size = [], 0
            run.append(entry)
            size += entry.length
        found.append((row, run))
    return found


def _stretches(places: list[Place]) -> list[tuple[ObjectRow, StreamEntries]]:
    found: list[tuple[ObjectRow, StreamEntries]] = []
    for row, entry in places:
        if found and found[-1][0].object_id == row.object_id:
            last = found[-1][1][-1]
            if last.position + last.length == entry.position:
                found[-1][1].append(entry)
                continue
        found.append((row, [entry]))
    return found


__all__ = ["Place", "StreamEntries", "runs", "whole", "without_rest"]
