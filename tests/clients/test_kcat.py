"""kcat on Debian's librdkafka: the client that most people try first, and an old one (librdkafka 2.0)."""

import json
from collections.abc import Callable

import pytest
from clients.tooling import require, run

pytestmark = pytest.mark.clients

Kcat = Callable[..., str]


@pytest.fixture
def kcat(bootstrap: str) -> Kcat:
    """Runs kcat against the broker under test: `kcat("-L")`; `data` is its standard input."""
    program = require("kcat")
    return lambda *arguments, data=None: run([program, "-b", bootstrap, *arguments], data=data)


def _lines(count: int) -> list[str]:
    return [f"line {number:06d}" for number in range(count)]


def test_what_is_produced_is_consumed_in_order(kcat: Kcat, fresh: Callable[[str], str]) -> None:
    topic = fresh("kcat")
    kcat("-P", "-t", topic, "-p", "0", "-X", "acks=all", data="\n".join(_lines(1000)))
    assert kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q").splitlines() == _lines(1000)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_come_back_as_they_were_sent(kcat: Kcat, fresh: Callable[[str], str], codec: str) -> None:
    topic = fresh(f"kcat-{codec}")
    kcat("-P", "-t", topic, "-p", "0", "-z", codec, data="\n".join(_lines(500)))
    assert kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q").splitlines() == _lines(500)


def test_keys_headers_and_tombstones_survive(kcat: Kcat, fresh: Callable[[str], str]) -> None:
    topic = fresh("kcat-headers")
    kcat("-P", "-t", topic, "-p", "0", "-K", ":", "-Z", "-H", "trace=abc", "-H", "empty=", data="k1:v1\nk2:\n")
    shown = kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o|%k|%S|%s|%h\n")
    assert shown.splitlines() == ["0|k1|2|v1|trace=abc,empty=", "1|k2|-1||trace=abc,empty="]


def test_metadata_names_the_broker_the_topic_and_its_partitions(kcat: Kcat, fresh: Callable[[str], str]) -> None:
    topic = fresh("kcat-metadata")
    kcat("-P", "-t", topic, "-p", "0", data="x")
    metadata = json.loads(kcat("-L", "-J", "-t", topic))
    (broker,) = metadata["brokers"]
    (found,) = metadata["topics"]
    assert found["topic"] == topic
    assert [partition["partition"] for partition in found["partitions"]] == [0]
    for partition in found["partitions"]:
        assert partition["leader"] == broker["id"]
        assert partition["replicas"] == partition["isrs"] == [{"id": broker["id"]}]
    assert metadata["controllerid"] == broker["id"]


def test_offsets_are_found_by_time_and_by_the_special_values(kcat: Kcat, fresh: Callable[[str], str]) -> None:
    topic = fresh("kcat-offsets")
    kcat("-P", "-t", topic, "-p", "0", data="\n".join(_lines(20)))
    at_offset_7 = kcat("-C", "-t", topic, "-p", "0", "-o", "7", "-c", "1", "-q", "-f", "%T").strip()
    first_with_it = kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %T\n").splitlines()
    expected = next(line.split()[0] for line in first_with_it if line.split()[1] == at_offset_7)
    assert kcat("-Q", "-t", f"{topic}:0:{at_offset_7}").split() == [topic, "[0]", "offset", expected]
    assert kcat("-Q", "-t", f"{topic}:0:-1").split()[-1] == "20"
    assert kcat("-Q", "-t", f"{topic}:0:-2").split()[-1] == "0"
    assert kcat("-C", "-t", topic, "-p", "0", "-o", "-3", "-e", "-q").splitlines() == _lines(20)[-3:]


def test_a_balanced_group_consumes_everything_and_resumes_where_it_stopped(
    kcat: Kcat, fresh: Callable[[str], str]
) -> None:
    topic, group = fresh("kcat-group"), fresh("kcat-group")
    settings = ["-X", "auto.offset.reset=earliest", "-X", "session.timeout.ms=6000"]
    kcat("-P", "-t", topic, "-p", "0", data="\n".join(_lines(50)))
    assert kcat("-G", group, *settings, "-c", "30", "-q", topic).splitlines() == _lines(50)[:30]
    assert kcat("-G", group, *settings, "-c", "20", "-q", topic).splitlines() == _lines(50)[30:]


def test_an_idempotent_producer_is_served(kcat: Kcat, fresh: Callable[[str], str]) -> None:
    topic = fresh("kcat-idempotent")
    kcat("-P", "-t", topic, "-p", "0", "-X", "enable.idempotence=true", data="\n".join(_lines(200)))
    assert kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q").splitlines() == _lines(200)
