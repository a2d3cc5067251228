"""Frames, headers, versions: what a broker answers, and what it closes without a word."""

import struct

from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic
from automq_broker.wire.apis.k18_api_versions import ApiVersionsRequest
from automq_broker.wire.frames import encode_request
from clients.differential.conversation import CLIENT_ID
from clients.differential.world import Ask, Hear, Steps, World, case

API_VERSIONS, METADATA = 18, 3


def _head(key: int, version: int) -> bytes:
    return struct.pack(">hhih", key, version, 1, len(CLIENT_ID)) + CLIENT_ID.encode()


def _framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


@case(API_VERSIONS)
def every_version_is_answered(world: World, version: int) -> Steps:
    request = ApiVersionsRequest(client_software_name="tests", client_software_version="1.0")
    yield Ask(message=request, view=lambda answer: (answer.error_code, answer.throttle_time_ms))


@case(API_VERSIONS, least=3)
def a_bad_client_name_is_an_invalid_request(world: World, version: int) -> Steps:
    for name, number in (("no spaces", "1"), ("-dash", "1"), ("ok", "bad version"), ("", ""), ("a.b-c", "1.0-x")):
        request = ApiVersionsRequest(client_software_name=name, client_software_version=number)
        yield Ask(message=request, view=lambda answer: answer.error_code)


@case(API_VERSIONS, only=(99,))
def an_unknown_version_is_answered_in_version_0(world: World, version: int) -> Steps:
    yield Ask(raw=_framed(_head(API_VERSIONS, 99) + b"\0"))
    yield Ask(raw=_framed(_head(API_VERSIONS, 99) + b"\0some body of a later version"))


@case(METADATA, only=(14, 99))
def an_unsupported_version_closes(world: World, version: int) -> Steps:
    yield Ask(raw=_framed(_head(METADATA, version) + b"\0\0\0\0\0\0"))


@case(0, only=(0, 2))
def old_produce_versions_close_although_they_are_advertised(world: World, version: int) -> Steps:
    yield Ask(raw=_framed(_head(0, version) + struct.pack(">hii", -1, 1000, 0)))


@case(METADATA, only=(0,))
def unknown_and_internal_api_keys_close(world: World, version: int) -> Steps:
    for key in (4, 52, 1000, -1):
        yield Ask(raw=_framed(_head(key, 0) + b"\0" * 8))


@case(METADATA, only=(0,))
def impossible_lengths_close(world: World, version: int) -> Steps:
    for length in (0, -1, -(2**31), 100 * 2**20 + 1, 2**31 - 1):
        yield Ask(raw=struct.pack(">i", length) + b"\0" * 16)


@case(METADATA, only=(1, 9, 12))
def truncated_bodies_close(world: World, version: int) -> Steps:
    request = MetadataRequest(topics=[MetadataRequestTopic(name="some-topic")])
    whole = encode_request(METADATA, version, 1, CLIENT_ID, request)[4:]
    header = len(_head(METADATA, version))
    for cut in (3, 9, header - 2, header + 1, header + 5, len(whole) - 2):
        yield Ask(raw=_framed(whole[:cut]))


@case(METADATA, only=(1,))
def oversized_counts_close(world: World, version: int) -> Steps:
    for count in (2**31 - 1, 100_000):
        yield Ask(raw=_framed(_head(METADATA, version) + struct.pack(">i", count) + b"\0\1a"))
    # Any negative count is a null array, here "all topics".
    yield Ask(raw=_framed(_head(METADATA, version) + struct.pack(">i", -2)), view=lambda frame: frame[:4])


@case(METADATA, only=(1,))
def another_protocol_closes(world: World, version: int) -> Steps:
    yield Ask(raw=b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    yield Ask(raw=b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64)


@case(METADATA, only=(1, 9))
def trailing_bytes_are_ignored(world: World, version: int) -> Steps:
    request = MetadataRequest(topics=[])
    whole = encode_request(METADATA, version, 7, CLIENT_ID, request)[4:]
    yield Ask(raw=_framed(whole + b"rest"), view=lambda frame: frame[:4])


@case(METADATA, only=(1, 9))
def a_null_client_id_is_served(world: World, version: int) -> Steps:
    whole = encode_request(METADATA, version, 9, None, MetadataRequest(topics=[]))
    yield Ask(raw=whole, view=lambda frame: frame[:4])


@case(METADATA, only=(1,))
def pipelined_requests_are_answered_in_order(world: World, version: int) -> Steps:
    def shape(answer: object) -> int:
        return len(answer.topics)  # type: ignore[attr-defined]

    for count in range(5):
        topics = [MetadataRequestTopic(name=world.seeded())] * count if count < 2 else []
        yield Ask(message=MetadataRequest(topics=topics), is_waiting=False)
    for _ in range(5):
        yield Hear(view=shape)
