"""Just enough HTTP/1.1 for probes, Prometheus and curl: GET and POST, small requests, keep-alive. Source: RFC 9112.

Anything else is refused with a status, and anything large, slow or numerous is cut off.
"""

import asyncio
import json
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from automq_broker.contract import admin
from automq_broker.kernel.errors import AutomqError, Refused

log = logging.getLogger("automq.admin")

_HEAD_BYTES_MAX = 16 * 1024
_BODY_BYTES_MAX = 64 * 1024
_REQUEST_S = 10.0
_IDLE_S = 60.0
_CONNECTIONS_MAX = 64
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was read whole. Header names are in lower case; `path` is decoded and has no query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; the length and the connection's fate are added when it is written."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def text(message: str, status: int = 200) -> Response:
    """A line for a human."""
    return Response(status=status, body=message.encode() + b"\n")


def json_response(value: Any, status: int = 200) -> Response:
    """JSON, indented because people read it too."""
    body = json.dumps(value, indent=2, default=str).encode() + b"\n"
    return Response(status=status, body=body, content_type="application/json")


def problem(status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A refusal as RFC 9457 wants it."""
    body = admin.Problem(title=status.phrase, status=int(status), detail=detail)
    return Response(
        status=status,
        body=body.model_dump_json(indent=2).encode() + b"\n",
        content_type=admin.PROBLEM_TYPE,
        headers=headers or {},
    )


def _refusal(path: str, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A line for a human, or what programs expect below the API's prefix."""
    if path.startswith(admin.PREFIX):
        return problem(status, detail, headers)
    return replace(text(detail, status), headers=headers or {})


Handler = Callable[[Request], Response | Awaitable[Response]]
Routes = Mapping[tuple[str, str], Handler]


class _Fault(AutomqError):
    """The request cannot be served; `response` says why, and the connection closes."""

    def __init__(self, response: Response) -> None:
        super().__init__(HTTPStatus(response.status).phrase)
        self.response = response


def _malformed(status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> _Fault:
    return _Fault(text(status.phrase, status))


class AdminServer:
    """Serves a table of routes {(method, path): handler}. A handler that raises answers 500; the server goes on."""

    def __init__(self, routes: Routes, *, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._routes = routes
        self._tls = tls
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; returns the port. Raises Refused if it is taken."""
        try:
            self._server = await asyncio.start_server(
                self._connected,
                self._host or None,
                self._port,
                limit=_HEAD_BYTES_MAX,
                family=socket.AF_UNSPEC,
                ssl=self._tls,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise Refused(f"admin.listener: cannot listen on {self._host or '*'}:{self._port}: {reason}") from error
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close everything at once; answers under way are cut off."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("admin connection")
        self._open.add(task)
        try:
            if len(self._open) <= _CONNECTIONS_MAX:
                await self._converse(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            # The peer left, was too slow, or the server stops: nobody is there to be told.
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_kept = True
        while is_kept:
            async with asyncio.timeout(_IDLE_S):
                start = await reader.read(1)
            if not start:
                return
            try:
                async with asyncio.timeout(_REQUEST_S):
                    request, is_kept = await _read_request(start, reader)
                response = await self._answer(request)
            except _Fault as fault:
                response, is_kept = fault.response, False
            writer.write(_encode(response, is_kept))
            async with asyncio.timeout(_REQUEST_S):
                await writer.drain()

    async def _answer(self, request: Request) -> Response:
        handler = self._routes.get((request.method, request.path))
        if handler is None:
            raise _Fault(self._no_handler(request))
        if request.method != "GET" and "origin" in request.headers:
            # A page in a browser must not be able to change anything here through its reader's loopback.
            raise _Fault(_refusal(request.path, HTTPStatus.FORBIDDEN, "requests from web pages are refused"))
        try:
            answer = handler(request)
            return answer if isinstance(answer, Response) else await answer
        except Exception:
            log.exception("admin page failed", extra={"path": request.path})
            return _refusal(request.path, HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")

    def _no_handler(self, request: Request) -> Response:
        allowed = [method for method, path in self._routes if path == request.path]
        if not allowed:
            return _refusal(request.path, HTTPStatus.NOT_FOUND, "there is no such page; GET / lists all")
        methods = ", ".join(allowed)
        detail = f"this page takes {methods} only"
        return _refusal(request.path, HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": methods})


async def _read_request(start: bytes, reader: asyncio.StreamReader) -> tuple[Request, bool]:
    """One request, and whether the connection stays open behind it."""
    try:
        head = (start + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise _malformed(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
    line, *rest = head[:-4].split("\r\n")
    method, target, version = _start_line(line)
    headers = _headers(rest)
    body = await _read_body(headers, reader)
    parts = urlsplit(target)
    request = Request(
        method=method,
        path=unquote(parts.path),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers=headers,
        body=body,
    )
    connection = headers.get("connection", "").lower()
    return request, connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")


def _start_line(line: str) -> tuple[str, str, str]:
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _malformed()
    method, target, version = words
    if not _TOKEN.fullmatch(method):
        raise _malformed()
    if not target.startswith("/"):
        raise _malformed()
    return method, target, version


def _headers(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name) or (name.lower() == "content-length" and "content-length" in found):
            raise _malformed()
        found[name.lower()] = value.strip(" \t")
    return found


async def _read_body(headers: Mapping[str, str], reader: asyncio.StreamReader) -> bytes:
    if "transfer-encoding" in headers:
        raise _malformed(HTTPStatus.LENGTH_REQUIRED)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise _malformed()
    if len(length) > 9 or int(length) > _BODY_BYTES_MAX:
        raise _malformed(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return await reader.readexactly(int(length)) if int(length) else b""


def _encode(response: Response, is_kept: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {int(response.status)} {HTTPStatus(response.status).phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if is_kept else 'close'}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + response.body


__all__ = ["AdminServer", "Handler", "Request", "Response", "Routes", "json_response", "problem", "text"]
