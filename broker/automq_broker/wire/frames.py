"""One frame: header and body of a request or a response. The four-byte length prefix is cut off by front.

Header versions follow from the API: requests have header v2 in flexible versions, else v1; responses v1 in flexible
versions, else v0, and ApiVersions always v0, because a client reads that answer before it knows the broker's versions.
Source: RequestHeader.json, ResponseHeader.json, KIP-482, KIP-511.
"""

import struct
from collections.abc import Callable
from typing import Any

from automq_broker.wire import codec, fetch, produce
from automq_broker.wire.index import ALL_APIS, request_class, response_class
from automq_broker.wire.primitives import Buffer, Cursor, Sink, WireError
from automq_broker.wire.schema import Message

_HEADER = struct.Struct(">hhih")
_INT32 = struct.Struct(">i")
_API_VERSIONS = 18
_RESPONSE_ITEMS = 20_000_000
"""Array items of one response that a client of ours accepts; a broker it chose to ask is no stranger."""


_TUNED_REQUESTS: dict[int, Callable[[int, memoryview, int], Message]] = {
    0: produce.decode_request,
    1: fetch.decode_request,
}
_TUNED_RESPONSES: dict[int, Callable[[Sink, Any, int], None]] = {
    0: produce.encode_response,
    1: fetch.encode_response,
}
"""The hot path has codecs written by hand; they give the same bytes and messages as the generic one."""


class UnsupportedVersion(WireError):
    """An API key or version outside Kafka's table; ApiVersions alone has an answer for it (error 35 in a v0 body)."""


class RequestHeader:
    """Who asks what: `client_id` is None where the client sent null."""

    __slots__ = ("api_key", "api_version", "client_id", "correlation_id")

    def __init__(self, api_key: int, api_version: int, correlation_id: int, client_id: str | None) -> None:
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id
        self.client_id = client_id

    def __repr__(self) -> str:
        values = f"{self.api_key}, {self.api_version}, {self.correlation_id}, {self.client_id!r}"
        return f"RequestHeader({values})"


def decode_request_header(frame: memoryview) -> tuple[RequestHeader, int]:
    """The header and the position of the body. An unknown key or version is not refused here.

    For one, the position is that of the header's tagged fields, which cannot be told from a body. Raises WireError.
    """
    try:
        key, version, correlation_id, length = _HEADER.unpack_from(frame)
        position = _HEADER.size
        client_id = None
        if length >= 0:
            end = position + length
            if end > len(frame):
                raise WireError(f"client id of {length} bytes exceeds the frame")
            client_id = str(frame[position:end], "utf-8", "replace")
            position = end
        entry = ALL_APIS.get(key)
        if entry is not None and entry.flexible_from <= version <= entry.max_version:
            position = _skip_tags(frame, position)
    except (struct.error, IndexError) as error:
        raise WireError("the frame ends inside the request header") from error
    return RequestHeader(key, version, correlation_id, client_id), position


def decode_request(header: RequestHeader, frame: memoryview, position: int) -> Any:
    """The request's message; `bytes` and `records` in it are views into `frame`.

    Raises UnsupportedVersion for a key or version outside Kafka's table, WireError for malformed bytes.
    """
    key, version = header.api_key, header.api_version
    _check_version(key, version)
    if key in _TUNED_REQUESTS:
        return _TUNED_REQUESTS[key](version, frame, position)
    return codec.decode(request_class(key), version, frame, position)


def encode_response(header: RequestHeader, message: Message) -> list[Buffer]:
    """The whole response with its length prefix, as buffers to be written in this order.

    Record segments stay what they were handed in as; everything between them is joined. Raises WireError when a value
    does not fit its field.
    """
    sink = Sink()
    sink.head += b"\0\0\0\0" + _INT32.pack(header.correlation_id)
    if _has_response_tags(header.api_key, header.api_version):
        sink.head.append(0)
    key, version = header.api_key, header.api_version
    if key in _TUNED_RESPONSES:
        _TUNED_RESPONSES[key](sink, message, version)
    else:
        codec.encode_into(sink, message, version)
    return finish_frame(sink)


def finish_frame(sink: Sink) -> list[Buffer]:
    """Put the length into the first four bytes (left free) and hand out the buffers."""
    parts: list[Buffer] = [*sink.parts, sink.head] if sink.head or not sink.parts else sink.parts
    first = parts[0]
    assert isinstance(first, bytearray)
    try:
        _INT32.pack_into(first, 0, sink.parts_size + len(sink.head) - 4)
    except struct.error as error:
        raise WireError("a response must be smaller than 2 GiB") from error
    return parts


# --- the client's side: tests, tools, the command line ------------------------------------------------------------


def encode_request(key: int, version: int, correlation_id: int, client_id: str | None, message: Message) -> bytes:
    """A request with its length prefix."""
    _check_version(key, version)
    sink = Sink()
    name = None if client_id is None else client_id.encode()
    sink.head += b"\0\0\0\0" + _HEADER.pack(key, version, correlation_id, -1 if name is None else len(name))
    sink.head += name or b""
    if version >= ALL_APIS[key].flexible_from:
        sink.head.append(0)
    codec.encode_into(sink, message, version)
    return b"".join(finish_frame(sink))


def decode_response(key: int, version: int, frame: memoryview) -> tuple[int, Any]:
    """(correlation id, message) of a response frame without its length prefix."""
    try:
        (correlation_id,) = _INT32.unpack_from(frame)
        position = _skip_tags(frame, 4) if _has_response_tags(key, version) else 4
    except (struct.error, IndexError) as error:
        raise WireError("the frame ends inside the response header") from error
    return correlation_id, codec.decode(response_class(key), version, frame, position, items=_RESPONSE_ITEMS)


def _has_response_tags(key: int, version: int) -> bool:
    return key != _API_VERSIONS and version >= ALL_APIS[key].flexible_from


def _skip_tags(frame: memoryview, position: int) -> int:
    if frame[position] == 0:
        return position + 1
    cursor = Cursor(frame, position)
    codec.read_tags(cursor, None, {})
    return cursor.position


def _check_version(key: int, version: int) -> None:
    entry = ALL_APIS.get(key)
    if entry is None or not entry.min_version <= version <= entry.max_version:
        raise UnsupportedVersion(f"API key {key} version {version}")


__all__ = [
    "RequestHeader",
    "UnsupportedVersion",
    "WireError",
    "decode_request",
    "decode_request_header",
    "decode_response",
    "encode_request",
    "encode_response",
    "finish_frame",
]
