"""Every way in which AWS gives a process its credentials reaches every request of a broker, of both S3 clients."""

import json
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from process.load import make_topic, produce, read_back
from twins.broker_process import BrokerProcess
from twins.faulty_s3 import FaultyS3, faulty_s3

ROLE = "arn:aws:iam::123456789012:role/broker"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJicm9rZXIifQ.c2ln"


@pytest.fixture
def s3() -> Iterator[FaultyS3]:
    with faulty_s3() as running:
        yield running


@pytest.fixture
def pod_identity() -> Iterator[str]:
    """What an agent beside the process answers (EKS Pod Identity, ECS); yields its address."""
    answer = {
        "AccessKeyId": "ASIAPODIDENTITY00000",
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": "2099-01-01T00:00:00Z",
    }

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/credentials"
    server.shutdown()
    server.server_close()


def web_identity(directory: Path, s3: FaultyS3, agent: str) -> dict[str, str]:
    """IRSA: a token file and a role, exchanged at STS."""
    (directory / "token").write_text(TOKEN)
    return {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(directory / "token"),
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{s3.port}",
        "AWS_REGION": "us-east-1",
    }


def container(directory: Path, s3: FaultyS3, agent: str) -> dict[str, str]:
    """EKS Pod Identity."""
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": agent}


def profile(directory: Path, s3: FaultyS3, agent: str) -> dict[str, str]:
    """A named profile whose credentials a program prints."""
    printed = {"Version": 1, "AccessKeyId": "ASIAPROFILE000000000", "SecretAccessKey": "s", "SessionToken": "t"}
    (directory / "printed.json").write_text(json.dumps(printed))
    (directory / "config").write_text(f"[profile kafka]\ncredential_process = cat {directory / 'printed.json'}\n")
    return {"AWS_PROFILE": "kafka", "AWS_CONFIG_FILE": str(directory / "config")}


@pytest.mark.parametrize("way", [web_identity, container, profile], ids=lambda way: way.__name__)
def test_credentials_of_aws_default_chain_sign_every_request(
    tmp_path: Path,
    s3: FaultyS3,
    pod_identity: str,
    way: Callable[[Path, FaultyS3, str], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    nowhere = {name: s3.environment[name] for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    broker = BrokerProcess(
        tmp_path,
        bucket=s3.uri(),
        settings={"s3.wal.capacity": str(64 << 20)},
        environment=nowhere | way(tmp_path, s3, pod_identity),
    )
    s3.signers.clear()
    broker.start()
    make_topic(broker.bootstrap, "t")
    assert produce(broker.bootstrap, "t", [b"v"] * 10) == [b"v"] * 10
    broker.stop()
    broker.start()
    assert read_back(broker.bootstrap, "t", 10) == [b"v"] * 10
    broker.stop()
    signed = {signer for signer in s3.signers if signer.method != "POST" or signer.key_id}
    assert {signer.method for signer in signed} >= {"GET", "PUT"}
    assert all(signer.key_id.startswith("ASIA") and signer.has_token for signer in signed), signed
    assert "secret" not in (tmp_path / "broker.log").read_text()
