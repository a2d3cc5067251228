"""The topics inside a subscription of protocol type "consumer": the one place where member bytes are looked into.

The format is Kafka's ConsumerProtocolSubscription; every version starts with version and topics, the rest is skipped.
"""

import struct


def subscribed_topics(metadata: bytes) -> frozenset[str] | None:
    """Topic names of a subscription, None if the bytes are not one (a client may send anything here)."""
    try:
        (count,) = struct.unpack_from(">i", metadata, 2)
        if count < 0 or count * 2 > len(metadata):
            return None
        position, topics = 6, set()
        for _ in range(count):
            (length,) = struct.unpack_from(">h", metadata, position)
            position += 2
            name = metadata[position : position + length]
            if length < 0 or len(name) != length:
                return None
            topics.add(name.decode())
            position += length
    except (struct.error, UnicodeDecodeError):
        return None
    return frozenset(topics)


__all__ = ["subscribed_topics"]
