"""Damage on the way, or damage in the store: bytes with a wrong checksum are read again until that is known.

What a network or a proxy damages is damaged in another way each time and comes whole in the end; what is stored damaged
comes the same every time. A process that gave up after a few reads, each damaged in its own way, would take a bad line
for lost metadata and end itself.
"""

from collections import Counter

import crc32c

from automq_broker.ports import Buffer

_SAME_READS = 3


class Damage:
    """What one object's bytes were like, over the reads that did not match their checksum."""

    def __init__(self) -> None:
        self._reads_by_crc: Counter[int] = Counter()

    def is_stored(self, data: Buffer) -> bool:
        """Note one more damaged read; True once the very same bytes have come three times: reading again is no use."""
        crc = crc32c.crc32c(data)
        self._reads_by_crc[crc] += 1
        return self._reads_by_crc[crc] >= _SAME_READS


__all__ = ["Damage"]
