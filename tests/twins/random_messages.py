"""Random messages of any generated class and version, valid by its schema; the same seed gives the same message."""

import random
from typing import Any
from uuid import UUID

from automq_broker.wire.schema import Array, Field, Message, NewDefault, Versions

_LIMITS = {
    "int8": (-(1 << 7), (1 << 7) - 1),
    "int16": (-(1 << 15), (1 << 15) - 1),
    "uint16": (0, (1 << 16) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint32": (0, (1 << 32) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
}
_ALPHABET = "abcXYZ019-._ äß€😀\0"


def random_message(message_class: type[Message], version: int, chance: random.Random, *, is_tame: bool = False) -> Any:
    """A message whose fields outside `version` hold their defaults.

    `is_tame` keeps to values that an oracle with a narrower notion of them accepts: error codes that exist, times that
    a calendar knows, uuids that are not zero.
    """
    message = message_class()
    for field in message_class.SCHEMA.fields:
        if Versions.parse(field.versions).has(version):
            setattr(message, field.name, _value(field, version, chance, is_tame))
    return message


def _value(field: Field, version: int, chance: random.Random, is_tame: bool) -> Any:
    if Versions.parse(field.tagged).has(version) and chance.random() < 0.5:
        return field.default.make() if isinstance(field.default, NewDefault) else field.default
    if Versions.parse(field.nullable).has(version) and chance.random() < 0.3:
        return None
    if isinstance(field.type, Array):
        count = chance.choice((0, 1, 1, 2, 3, 130 if field.type.item == "int32" else 4))
        return [_item(field.type.item, field.name, version, chance, is_tame) for _ in range(count)]
    return _item(field.type, field.name, version, chance, is_tame)


def _item(kind: Any, name: str, version: int, chance: random.Random, is_tame: bool) -> Any:
    if not isinstance(kind, str):
        return random_message(kind, version, chance, is_tame=is_tame)
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "float64":
        return chance.choice((0.0, 1.5, -2.25e300))
    if kind == "uuid":
        return UUID(int=chance.getrandbits(128) | 1) if is_tame or chance.random() < 0.8 else UUID(int=0)
    if kind == "string":
        return "".join(chance.choices(_ALPHABET, k=chance.choice((0, 1, 5, 20, 127, 128))))
    if kind in ("bytes", "records"):
        return chance.randbytes(chance.choice((0, 1, 30, 126, 127, 128, 300)))
    return _integer(kind, name, chance, is_tame)


def _integer(kind: str, name: str, chance: random.Random, is_tame: bool) -> int:
    low, high = _LIMITS[kind]
    if is_tame and kind == "int16" and "error_code" in name:
        return chance.randint(-1, 119)
    if is_tame and (name.endswith("_ms") or "timestamp" in name):
        return chance.randint(0, 10**9) * (1000 if kind == "int64" else 1)
    if chance.random() < 0.2:
        return chance.choice((low, high, 0, -1 if low else 0, 1))
    return chance.randint(low >> chance.randint(0, 8), high >> chance.randint(0, 8))
