"""Golden vectors: messages as Apache Kafka 4.3's own generated classes wrote them, with the values they saw in them.

tests/vectors/make.py made them (bytes and JSON both come out of Kafka's code).
"""

import base64
import importlib
import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from automq_broker.wire import codec
from automq_broker.wire.index import APIS, RECORDS, request_class, response_class
from automq_broker.wire.schema import Message, Versions

LINES = (Path(__file__).resolve().parent.parent / "vectors" / "messages.txt").read_text().splitlines()
KEYS = {entry.name: entry.key for entry in APIS.values()}
RECORD_MODULES = {entry.name: entry.module for entry in RECORDS}


def class_of(java_class):
    name = java_class.rpartition(".")[2]
    if name.endswith("RequestData"):
        return request_class(KEYS[name.removesuffix("RequestData")])
    if name.endswith("ResponseData"):
        return response_class(KEYS[name.removesuffix("ResponseData")])
    base = name.removesuffix("Key").removesuffix("Value")
    return getattr(importlib.import_module(f"automq_broker.wire.apis.{RECORD_MODULES[base]}"), name)


def python_name(camel):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", camel.replace("kRaft", "kraft").replace("KRaft", "Kraft")).lower()


def assert_same(ours, kafkas):
    if isinstance(ours, Message):
        seen = {python_name(name): value for name, value in kafkas.items()}
        assert seen.keys() <= set(ours.__slots__)
        for name, value in seen.items():
            if name not in ("records", "unaligned_records"):  # Kafka prints their size only
                assert_same(getattr(ours, name), value)
    elif isinstance(ours, list):
        assert len(ours) == len(kafkas)
        for mine, theirs in zip(ours, kafkas, strict=True):
            assert_same(mine, theirs)
    elif isinstance(ours, UUID):
        assert base64.urlsafe_b64encode(ours.bytes).decode().rstrip("=") == kafkas
    elif isinstance(ours, memoryview):
        assert base64.b64encode(ours).decode() == kafkas
    else:
        assert ours == kafkas


def test_the_vectors_cover_every_api_and_record():
    names = {line.split(" ", 1)[0].rpartition(".")[2] for line in LINES}
    for entry in APIS.values():
        assert {f"{entry.name}RequestData", f"{entry.name}ResponseData"} <= names
    for entry in RECORDS:
        assert {f"{entry.name}Key", f"{entry.name}Value"} <= names


@pytest.mark.parametrize("line", LINES, ids=lambda line: "-".join(line.rpartition(".")[2].split(" ")[:2])[-60:])
def test_kafkas_bytes_mean_to_us_what_they_mean_to_kafka(line):
    java_class, version, data, values = line.split(" ", 3)
    message_class, frame = class_of(java_class), bytes.fromhex(data)
    message = codec.decode(message_class, int(version), memoryview(frame))
    assert_same(message, json.loads(values))
    assert codec.encode(message, int(version)) == frame
    fields = {field.name for field in message_class.SCHEMA.fields if Versions.parse(field.versions).has(int(version))}
    tagged = {field.name for field in message_class.SCHEMA.fields if field.tag >= 0}
    printed = {python_name(name) for name in json.loads(values)}
    assert {name.replace("unaligned_", "") for name in fields - tagged} <= {
        name.replace("_size_in_bytes", "").replace("unaligned_", "") for name in printed
    }
