"""Answers as plain values that two brokers can agree on.

What a broker is free to choose (ids, ports, texts, its clock) becomes a symbol that still shows equality: the first
member id of a conversation is `member#1` on either side, the second another one. Everything else stays as it is.
"""

from typing import Any
from uuid import UUID

from automq_broker.wire.batches import BATCH_HEADER_BYTES, read_batch_header
from automq_broker.wire.schema import Message

_ZERO_UUID = UUID(int=0)
# Field name -> the kind of symbol that its value becomes, if it is set at all.
_SYMBOLS = {
    "port": "port",
    "cluster_id": "cluster",
    "member_id": "member",
    "leader": "member",
    "producer_id": "producer",
    "session_id": "session",
    "error_message": "text",
    "batch_index_error_message": "text",
    "log_append_time_ms": "time",
}


class Plain:
    """Turns messages into dicts, lists, numbers and strings; one instance per conversation keeps the symbols."""

    def __init__(self) -> None:
        self._symbols: dict[tuple[str, Any], str] = {}
        self._counts: dict[str, int] = {}

    def of(self, value: Any, field: str = "") -> Any:
        """The plain form of a message, of a list of them or of a field's value."""
        if isinstance(value, Message):
            return {entry[0]: self.of(getattr(value, entry[0]), entry[0]) for entry in type(value).SCHEMA.fields}
        if isinstance(value, list):
            return [self.of(item, field) for item in value]
        if isinstance(value, dict):
            return {key: self.of(item, key) for key, item in value.items()}
        if isinstance(value, UUID):
            return "no uuid" if value == _ZERO_UUID else self._symbol("uuid", value)
        if isinstance(value, memoryview | bytes | bytearray):
            return plain_batches(memoryview(value)) if field == "records" else bytes(value).hex()
        kind = _SYMBOLS.get(field)
        is_set = value not in (None, "", -1) and (kind, value) != ("session", 0)
        if kind == "text":
            return "a text" if is_set else value
        return self._symbol(kind, value) if kind and is_set else value

    def _symbol(self, kind: str, value: Any) -> str:
        if (kind, value) not in self._symbols:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._symbols[kind, value] = f"{kind}#{self._counts[kind]}"
        return self._symbols[kind, value]


def plain_batches(view: memoryview) -> list[dict[str, Any]]:
    """Every whole batch with its header and payload.

    Left out: the leader epoch, which belongs to the answer around it, and a last batch that was cut at max_bytes:
    Kafka sends slices of its files and every client drops such a rest.
    """
    found, position = [], 0
    while len(view) - position >= BATCH_HEADER_BYTES:
        header = read_batch_header(view, position)
        if position + header.size_bytes > len(view):
            break
        payload = view[position + BATCH_HEADER_BYTES : position + header.size_bytes]
        found.append(
            {
                "offsets": (header.base_offset, header.last_offset),
                "attributes": header.attributes,
                "timestamps": (header.base_timestamp, header.max_timestamp),
                "producer": (header.producer_epoch, header.base_sequence),
                "records": header.records_count,
                "crc": header.crc if header.producer_id < 0 else "over the producer id",
                "payload": bytes(payload).hex(),
            }
        )
        position += header.size_bytes
    return found


def differences(ours: Any, kafkas: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(path, ours, Kafka's) of every leaf that differs; list items are `[n]`."""
    if isinstance(ours, dict) and isinstance(kafkas, dict):
        keys = list(dict.fromkeys([*ours, *kafkas]))
        pairs = [(f"{path}.{key}" if path else key, ours.get(key), kafkas.get(key)) for key in keys]
    elif isinstance(ours, list) and isinstance(kafkas, list) and len(ours) == len(kafkas):
        pairs = [(f"{path}[{n}]", ours[n], kafkas[n]) for n in range(len(ours))]
    else:
        return [] if ours == kafkas else [(path, ours, kafkas)]
    return [found for place, mine, theirs in pairs for found in differences(mine, theirs, place)]
