"""Which partition of `__consumer_offsets` keeps a group. Clients never compute this, but tools and old brokers do."""

from functools import lru_cache

GROUPS_TOPIC = "__consumer_offsets"


@lru_cache(maxsize=16384)
def java_string_hash(text: str) -> int:
    """Java's String.hashCode as an unsigned 32-bit number, over UTF-16 units."""
    value = 0
    units = text.encode("utf-16-be", "surrogatepass")
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (value * 31 + (high << 8 | low)) & 0xFFFFFFFF
    return value


def partition_for(group_id: str, partition_count: int) -> int:
    """The partition that keeps `group_id`. Another count would move groups: it never changes."""
    return (java_string_hash(group_id) & 0x7FFFFFFF) % partition_count


def utf16_length(text: str) -> int:
    """Length as Java counts it: characters outside the basic plane count twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-be", "surrogatepass")) // 2


__all__ = ["GROUPS_TOPIC", "java_string_hash", "partition_for", "utf16_length"]
