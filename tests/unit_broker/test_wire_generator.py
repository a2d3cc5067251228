"""The generator and what it has written: the committed modules are exactly what Kafka's definitions give."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from automq_broker.wire.index import APIS, OFFSETS, RECORDS, TRANSACTIONS, record_classes, request_class, response_class
from automq_broker.wire.schema import NEW, UNBOUNDED, Array, Versions

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATED = [
    *sorted((ROOT / "broker/automq_broker/wire/apis").glob("*.py")),
    ROOT / "broker/automq_broker/wire/index.py",
]


def load_tool():
    spec = importlib.util.spec_from_file_location("generate_protocol", ROOT / "tools" / "generate_protocol.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def jars_or_skip():
    directory = tool.CACHE / "jars"
    if not list(directory.glob(f"kafka-clients-{tool.KAFKA_VERSION}.jar")) and not shutil.which("mvn"):
        reason = "Kafka's jars are missing: install Maven and run tools/generate_protocol.py --check"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return tool.find_jars(directory)


def test_the_committed_modules_are_what_the_definitions_give():
    files = tool.generate(jars_or_skip())
    assert set(files) == set(GENERATED)
    assert [path.name for path, text in files.items() if path.read_text() != text] == []


def test_the_same_definitions_give_the_same_text():
    jars = jars_or_skip()
    assert tool.generate(jars) == tool.generate(list(reversed(jars)))


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_every_generated_module_says_so_first(path):
    assert path.read_text().splitlines()[0] == tool.FIRST_LINE


@pytest.mark.parametrize(
    ("kafka", "python"),
    [
        ("TopicId", "topic_id"),
        ("ThrottleTimeMs", "throttle_time_ms"),
        ("KRaftVersion", "kraft_version"),
        ("From", "from_"),
    ],
)
def test_names_become_snake_case(kafka, python):
    assert tool.snake(kafka) == python


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"type": "int32", "default": "0x7fffffff"}, "2147483647"),
        ({"type": "int64", "default": -1}, "-1"),
        ({"type": "bool", "default": "true"}, "True"),
        ({"type": "bool", "default": False}, "False"),
        ({"type": "string"}, '""'),
        ({"type": "string", "default": "null"}, "None"),
        ({"type": "records"}, "None"),
        ({"type": "[]int32"}, "NEW"),
        ({"type": "[]int32", "default": "null"}, "None"),
        ({"type": "[]int32", "default": None}, "NEW"),
        ({"type": "float64"}, "0.0"),
        ({"type": "uuid"}, "ZERO_UUID"),
        ({"type": "SomeStruct", "default": None}, "NEW"),
    ],
)
def test_defaults_become_python(item, expected):
    assert tool.parse_default(item) == expected


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [("3", [3], [2, 4]), ("1-4", [1, 4], [0, 5]), ("2+", [2, 32767], [1]), ("none", [], [0, 1]), ("", [], [0])],
)
def test_ranges_of_versions_are_kafkas(text, inside, outside):
    versions = Versions.parse(text)
    assert all(map(versions.has, inside))
    assert not any(map(versions.has, outside))


def test_the_table_is_kafka_4_3s_without_unstable_versions():
    assert len(APIS) == 89
    assert set(range(93)) - set(APIS) == {4, 5, 6, 7}
    seen = {key: (APIS[key].min_version, APIS[key].max_version, APIS[key].flexible_from) for key in (0, 1, 18, 22, 47)}
    assert seen == {0: (3, 13, 9), 1: (4, 18, 12), 18: (0, 4, 3), 22: (0, 5, 2), 47: (0, 0, UNBOUNDED)}
    assert [APIS[key].is_for_brokers for key in (0, 52, 60, 62)] == [True, False, True, False]


def test_classes_carry_kafkas_names_and_every_table_row_is_a_slot():
    for entry in APIS.values():
        for message_class, suffix in ((request_class(entry.key), "Request"), (response_class(entry.key), "Response")):
            assert message_class.__name__ == entry.name + suffix
            walk(message_class)


def walk(message_class):
    assert tuple(field.name for field in message_class.SCHEMA.fields) == tuple(message_class.__slots__)
    assert not hasattr(message_class(), "__dict__")
    for field in message_class.SCHEMA.fields:
        assert getattr(message_class(), field.name) is not NEW
        inner = field.type.item if isinstance(field.type, Array) else field.type
        if not isinstance(inner, str):
            walk(inner)


def test_records_of_internal_topics_are_found_by_topic_and_type():
    assert [cls.__name__ for cls in record_classes(OFFSETS, 1)] == ["OffsetCommitKey", "OffsetCommitValue"]
    assert [cls.__name__ for cls in record_classes(OFFSETS, 2)] == ["GroupMetadataKey", "GroupMetadataValue"]
    assert [cls.__name__ for cls in record_classes(TRANSACTIONS, 0)] == ["TransactionLogKey", "TransactionLogValue"]
    assert len(RECORDS) == 23
    with pytest.raises(KeyError):
        record_classes(OFFSETS, 99)
