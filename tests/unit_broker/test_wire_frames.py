"""Whole frames: headers of every version, what is refused, and what leaves for the socket."""

import random
import struct
import sys

import pytest
from automq_broker.wire import frames
from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataResponse
from automq_broker.wire.apis.k17_sasl_handshake import SaslHandshakeRequest
from automq_broker.wire.apis.k18_api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from automq_broker.wire.frames import RequestHeader, UnsupportedVersion, WireError
from automq_broker.wire.index import APIS, request_class, response_class
from hypothesis import given, settings
from hypothesis import strategies as st
from kio.schema.request_header.v1.header import RequestHeader as KioHeaderV1
from kio.schema.request_header.v2.header import RequestHeader as KioHeaderV2
from kio.serial import entity_reader
from twins.random_messages import random_message

API_VERSIONS = [(e.key, v) for e in APIS.values() for v in range(e.min_version, e.max_version + 1)]


def frame_of(data):
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    return memoryview(data)[4:]


@pytest.mark.parametrize(("key", "version"), API_VERSIONS)
def test_requests_and_responses_of_every_version_come_back(key, version):
    chance = random.Random(key * 100 + version)
    request = random_message(request_class(key), version, chance)
    for client_id in ("client-1", "", None):
        frame = frame_of(frames.encode_request(key, version, 1234, client_id, request))
        header, position = frames.decode_request_header(frame)
        seen = (header.api_key, header.api_version, header.correlation_id, header.client_id)
        assert seen == (key, version, 1234, client_id)
        assert frames.decode_request(header, frame, position) == request
    response = random_message(response_class(key), version, chance)
    answer = frame_of(b"".join(frames.encode_response(header, response)))
    assert frames.decode_response(key, version, answer) == (1234, response)


@pytest.mark.parametrize(("key", "version"), [(3, 8), (3, 9), (17, 1), (18, 2), (18, 3), (0, 8), (0, 9)])
def test_request_headers_are_those_that_kio_reads(key, version):
    request = random_message(request_class(key), version, random.Random(1))
    frame = bytes(frame_of(frames.encode_request(key, version, -5, "me", request)))
    schema = KioHeaderV2 if version >= APIS[key].flexible_from else KioHeaderV1
    header, size = entity_reader(schema)(frame, 0)
    seen = (header.request_api_key, header.request_api_version, header.correlation_id, header.client_id)
    assert seen == (key, version, -5, "me")
    assert frames.decode_request_header(memoryview(frame))[1] == size


def test_a_request_as_it_stands_on_the_wire():
    golden = bytes.fromhex("00000013 0003 0008 00000007 0002 6d65 ffffffff 01 00 00")
    data = frames.encode_request(3, 8, 7, "me", MetadataRequest(topics=None))
    assert data == golden
    header, position = frames.decode_request_header(memoryview(data)[4:])
    assert repr(header) == "RequestHeader(3, 8, 7, 'me')"
    assert frames.decode_request(header, memoryview(data)[4:], position).topics is None


def test_tagged_fields_in_the_request_header_are_skipped():
    plain = frame_of(frames.encode_request(3, 9, 7, "me", MetadataRequest(topics=None)))
    body = plain[13:]
    for tags in (b"\x01\x00\x03abc", b"\x02\x05\x00\xff\x01\x01z"):
        frame = memoryview(bytes(plain[:12]) + tags + bytes(body))
        header, position = frames.decode_request_header(frame)
        assert position == 12 + len(tags)
        assert frames.decode_request(header, frame, position).topics is None


def test_the_answer_to_api_versions_has_header_v0_in_every_version():
    response = ApiVersionsResponse(api_keys=[ApiVersion(api_key=18, max_version=4)])
    for version in range(5):
        frame = frame_of(b"".join(frames.encode_response(RequestHeader(18, version, 9, None), response)))
        assert frame[:6] == struct.pack(">ih", 9, 0)  # the error code follows the correlation id at once


def test_other_flexible_answers_have_header_v1():
    for version, expected in ((8, b""), (9, b"\0")):
        frame = frame_of(b"".join(frames.encode_response(RequestHeader(3, version, 9, None), MetadataResponse())))
        assert frame[:8] == struct.pack(">i", 9) + (expected + bytes(4))[:4]
        assert frames.decode_response(3, version, frame)[1] == MetadataResponse()


@pytest.mark.parametrize(("key", "version"), [(18, 99), (18, -1), (3, 14), (2, 0), (4, 0), (7, 0), (93, 0), (-1, 0)])
def test_what_kafka_does_not_know_keeps_its_header_but_not_its_body(key, version):
    frame = memoryview(struct.pack(">hhih", key, version, 77, 2) + b"me" + b"\xff" * 20)
    header, position = frames.decode_request_header(frame)
    assert (header.api_key, header.api_version, header.correlation_id, header.client_id) == (key, version, 77, "me")
    with pytest.raises(UnsupportedVersion):
        frames.decode_request(header, frame, position)


def test_the_unsupported_api_versions_request_can_be_answered_in_v0():
    header = RequestHeader(18, 0, 77, "me")
    response = ApiVersionsResponse(error_code=35, api_keys=[ApiVersion(api_key=18, min_version=0, max_version=4)])
    data = b"".join(frames.encode_response(header, response))
    assert data == struct.pack(">iihihhh", 16, 77, 35, 1, 18, 0, 4)


def test_a_client_id_that_is_not_utf8_is_kept_readable():
    frame = memoryview(struct.pack(">hhih", 17, 0, 1, 3) + b"a\xffb" + b"\0\x05PLAIN")
    header, position = frames.decode_request_header(frame)
    assert header.client_id == "a�b"
    assert frames.decode_request(header, frame, position) == SaslHandshakeRequest(mechanism="PLAIN")


def test_a_header_cut_short_anywhere_is_a_wire_error():
    frame = frame_of(frames.encode_request(18, 3, 1, "client", ApiVersionsRequest()))
    for end in range(17):
        with pytest.raises(WireError):
            frames.decode_request_header(frame[:end])
    for end in range(5):
        with pytest.raises(WireError):
            frames.decode_response(3, 12, memoryview(b"\0\0\0\1\0")[:end])


@settings(max_examples=500, deadline=None)
@given(
    key=st.sampled_from([*APIS, 4, 99]),
    version=st.integers(-1, 20),
    rest=st.binary(max_size=120),
    body=st.binary(max_size=40),
)
def test_random_frames_are_read_or_refused(key, version, rest, body):
    for frame in (struct.pack(">hhi", key, version, 1) + rest, struct.pack(">hhih", key, version, 1, 0) + b"\0" + body):
        try:
            header, position = frames.decode_request_header(memoryview(frame))
            frames.decode_request(header, memoryview(frame), position)
        except WireError:
            pass


def test_nothing_but_the_fetched_segments_is_a_part_of_its_own():
    parts = frames.encode_response(RequestHeader(3, 12, 1, None), MetadataResponse(cluster_id="c"))
    assert len(parts) == 1


def test_decoding_keeps_no_reference_to_the_frame_once_the_message_is_gone():
    frame = bytearray(frame_of(frames.encode_request(3, 12, 1, "me", MetadataRequest())))
    header, position = frames.decode_request_header(memoryview(frame))
    message = frames.decode_request(header, memoryview(frame), position)
    assert message == MetadataRequest()
    frame.extend(b"x")  # raises BufferError while a view of it lives: a receive buffer could not be reused
    assert sys.getrefcount(frame) == 2
