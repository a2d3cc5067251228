"""An S3 service that can be told to misbehave: moto's S3 in a thread, with a layer in front that refuses, delays or forgets.

moto judges the condition of a write and stores in two steps; here changes go one at a time, so that of several writers one
wins, as with S3.

with faulty_s3() as s3:
    broker = BrokerProcess(tmp_path, bucket=s3.uri(), environment=s3.environment)
    s3.refuse = s3.SLOW_DOWN
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

BUCKET = "faulty"
SLOW_DOWN = (503, "SlowDown")
FORBIDDEN = (403, "AccessDenied")
BAD_KEY = (401, "InvalidAccessKeyId")
NO_BUCKET = (404, "NoSuchBucket")
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
_CHUNK_BYTES = 64 * 1024
_KEY_ID = re.compile(r"Credential=([A-Z0-9]+)/")


class Signer(NamedTuple):
    """Who signed a request: "" = nobody; `has_token` tells temporary credentials."""

    method: str
    key_id: str
    has_token: bool


class FaultyS3:
    """Attributes may be changed at any time: `refuse` (status, code) answers everything so, `ignores_conditions` drops
    If-Match and If-None-Match, `upload_bytes_per_s` paces the bodies of PUTs (0 = no limit). Counts `puts`, gathers
    `signers`."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self.refuse: tuple[int, str] | None = None
        self.ignores_conditions = False
        self.upload_bytes_per_s = 0
        self.puts = 0
        self.signers: set[Signer] = set()
        self.port = 0
        self._changing = threading.Lock()
        # moto keeps one world per process, so each server keeps apart by a prefix.
        self._prefix = uuid.uuid4().hex

    def uri(self, *, prefix: str | None = None, scheme: str = "s3", **query: str) -> str:
        """The URI for `automq --bucket`; `scheme` may be AutoMQ's 0@s3."""
        options = {"endpoint": f"http://127.0.0.1:{self.port}", "region": "us-east-1", "pathStyle": "true", **query}
        return f"{scheme}://{BUCKET}/{self._prefix if prefix is None else prefix}?{urlencode(options)}"

    @property
    def environment(self) -> dict[str, str]:
        """Credentials, which moto does not look at, and nothing from the machine's own profiles."""
        return {
            "AWS_ACCESS_KEY_ID": "AKIAFAULTYS3TESTKEY0",
            "AWS_SECRET_ACCESS_KEY": "faulty-s3-secret-that-no-log-may-show",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        }

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI."""
        key_id = _KEY_ID.search(environ.get("HTTP_AUTHORIZATION", ""))
        has_token = "HTTP_X_AMZ_SECURITY_TOKEN" in environ
        self.signers.add(Signer(environ["REQUEST_METHOD"], key_id[1] if key_id else "", has_token))
        if environ["REQUEST_METHOD"] == "PUT":
            self.puts += 1
        if self.refuse is not None:
            return _refusal(*self.refuse, environ, start_response)
        if self.ignores_conditions:
            for name in _CONDITIONS:
                environ.pop(name, None)
        if self.upload_bytes_per_s and environ["REQUEST_METHOD"] == "PUT":
            time.sleep(int(environ.get("CONTENT_LENGTH") or 0) / self.upload_bytes_per_s)
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._app(environ, start_response)
        with self._changing:
            return self._app(environ, start_response)


def _refusal(status: int, code: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    left = int(environ.get("CONTENT_LENGTH") or 0)
    while left > 0 and (chunk := environ["wsgi.input"].read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
    body = f"<Error><Code>{code}</Code><Message>told to refuse</Message></Error>".encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {code}", headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def faulty_s3() -> Iterator[FaultyS3]:
    """Serve on a free loopback port with one empty bucket."""
    from moto.server import DomainDispatcherApplication, create_backend_app  # type: ignore[attr-defined]

    server = FaultyS3(DomainDispatcherApplication(create_backend_app))
    http: BaseWSGIServer = make_server("127.0.0.1", 0, server, threaded=True, request_handler=_Silent)
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        _client(server).create_bucket(Bucket=BUCKET)
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def _client(server: FaultyS3) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


__all__ = ["BAD_KEY", "BUCKET", "FORBIDDEN", "NO_BUCKET", "SLOW_DOWN", "FaultyS3", "Signer", "faulty_s3"]
