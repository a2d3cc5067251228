"""Nominal types for identifiers, so that an offset is never handed where an LSN belongs.

All are plain integers at run time. Ranges are half-open: a range [start, end) holds the offsets start .. end-1.
"""

from typing import NewType

NodeId = NewType("NodeId", int)
"""Kafka's broker id (node.id), chosen by the operator of the cluster."""

StreamId = NewType("StreamId", int)
"""One stream per partition; int64, allocated by the controller, never reused."""

BrokerEpoch = NewType("BrokerEpoch", int)
"""Raised by the controller at every registration of a node; fences the older incarnation."""

StreamEpoch = NewType("StreamEpoch", int)
"""Raised at every open of a stream; Kafka clients see it as the leader epoch."""

ObjectId = NewType("ObjectId", int)
"""An object in the bucket; taken from an id block that belongs to one incarnation of one node."""

Offset = NewType("Offset", int)
"""A record's offset in its partition (Kafka's meaning)."""

Lsn = NewType("Lsn", int)
"""Log sequence number: a byte position in the endless WAL; position in the ring = LSN mod capacity."""

__all__ = ["BrokerEpoch", "Lsn", "NodeId", "ObjectId", "Offset", "StreamEpoch", "StreamId"]
