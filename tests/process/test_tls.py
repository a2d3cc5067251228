"""TLS and several listeners, as librdkafka and plain sockets meet them: who is let in, what is advertised, new files."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from process.load import make_topic, produce, read_back
from twins.broker_process import BrokerProcess
from twins.certificates import Authority
from twins.child_process import free_ports, wait_until

SETTINGS = {"s3.wal.capacity": str(64 << 20)}


class Served:
    """A broker with a plain listener, and a TLS one for `localhost`."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.authority = Authority(directory, "ca")
        self.key_file = self.authority.issue("broker")
        self.broker = BrokerProcess(directory)
        (self.tls_port,) = free_ports(1)
        self.broker.settings |= SETTINGS | {
            "listeners": f"PLAINTEXT://127.0.0.1:{self.broker.port},SSL://localhost:{self.tls_port}",
            "ssl.keystore.location": str(self.key_file),
            "ssl.truststore.location": str(self.authority.file),
            **settings,
        }
        self.broker.start()

    @property
    def bootstrap(self) -> str:
        return f"localhost:{self.tls_port}"

    def client(self, certificate: Path | None = None, authority: Authority | None = None) -> dict[str, Any]:
        """librdkafka's settings for the TLS listener."""
        known = {"security.protocol": "ssl", "ssl.ca.location": str((authority or self.authority).file)}
        if certificate is not None:
            known |= {"ssl.certificate.location": str(certificate), "ssl.key.location": str(certificate)}
        return known

    def handshake(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        plain = socket.create_connection(("127.0.0.1", self.tls_port), timeout=10)
        return context.wrap_socket(plain, server_hostname="localhost")


def serial_of(connection: ssl.SSLSocket) -> Any:
    certificate = connection.getpeercert()
    assert certificate is not None
    return certificate["serialNumber"]


def is_let_in(bootstrap: str, options: dict[str, Any]) -> bool:
    try:
        AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, **options}).list_topics(timeout=3)
    except KafkaException:
        return False
    return True


def test_records_pass_through_tls_and_back(tmp_path: Path) -> None:
    served = Served(tmp_path)
    make_topic(served.bootstrap, "t", **served.client())
    sent = [os.urandom(20_000) for _ in range(200)]
    assert produce(served.bootstrap, "t", sent, **served.client()) == sent
    assert read_back(served.bootstrap, "t", 200, **served.client()) == sent
    assert read_back(served.broker.bootstrap, "t", 200) == sent
    served.broker.stop()


@pytest.mark.parametrize(
    ("client_auth", "bare", "foreign"), [("required", False, False), ("requested", True, False), ("none", True, True)]
)
def test_client_certificates_are_asked_for_as_the_setting_says(
    tmp_path: Path, client_auth: str, bare: bool, foreign: bool
) -> None:
    served = Served(tmp_path, **{"ssl.client.auth": client_auth})
    (tmp_path / "other").mkdir()
    known = served.authority.issue("alice")
    unknown = Authority(tmp_path / "other", "other").issue("mallory")
    assert is_let_in(served.bootstrap, served.client(known))
    assert is_let_in(served.bootstrap, served.client()) is bare
    assert is_let_in(served.bootstrap, served.client(unknown)) is foreign
    served.broker.stop()


def test_a_client_that_trusts_another_authority_does_not_connect(tmp_path: Path) -> None:
    served = Served(tmp_path)
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    assert not is_let_in(served.bootstrap, served.client(authority=other))
    assert is_let_in(served.bootstrap, served.client())
    served.broker.stop()


def test_a_renewed_certificate_serves_new_handshakes_and_drops_no_connection(tmp_path: Path) -> None:
    served = Served(tmp_path)
    make_topic(served.bootstrap, "t", **served.client())
    before = served.handshake()
    first = serial_of(before)
    renewed = served.authority.issue("broker", file_name="renewed.pem")
    shutil.move(renewed, served.key_file)

    def is_renewed() -> bool:
        with served.handshake() as now:
            return bool(serial_of(now) != first)

    wait_until(is_renewed, 60, "the new certificate is served", every_s=0.5)
    before.sendall(b"\x00\x00\x00\x0a" + b"\x00\x12\x00\x00" + b"\x00\x00\x00\x07" + b"\xff\xff")  # ApiVersions 0
    assert before.recv(8)[4:] == b"\x00\x00\x00\x07", "the connection from before is answered"
    before.close()
    assert produce(served.bootstrap, "t", [b"a"], **served.client()) == [b"a"]
    served.broker.stop()


def test_each_listener_advertises_its_own_address(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path)
    inside, outside, six = broker.port, *free_ports(2)
    broker.settings |= SETTINGS | {
        "listeners": f"IN://127.0.0.1:{inside},OUT://127.0.0.1:{outside},SIX://[::1]:{six}",
        "advertised.listeners": f"IN://127.0.0.1:{inside},OUT://kafka.example.com:19092,SIX://[::1]:{six}",
        "listener.security.protocol.map": "IN:PLAINTEXT,OUT:PLAINTEXT,SIX:PLAINTEXT",
    }
    broker.start()
    assert advertised(f"127.0.0.1:{inside}") == ("127.0.0.1", inside)
    assert advertised(f"127.0.0.1:{outside}") == ("kafka.example.com", 19092)
    assert advertised(f"[::1]:{six}") == ("::1", six)
    make_topic(f"[::1]:{six}", "t")
    assert produce(f"[::1]:{six}", "t", [b"a", b"b"]) == [b"a", b"b"]
    assert read_back(f"127.0.0.1:{inside}", "t", 2) == [b"a", b"b"]
    broker.stop()


def advertised(bootstrap: str) -> tuple[str, int]:
    (node,) = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).brokers.values()
    return node.host, node.port


ADMIN_TOKEN = "a-token-of-sixteen-characters"


def cluster_command(
    broker: BrokerProcess, authority: Path | None, *words: str, scheme: str = "https"
) -> tuple[int, str]:
    """`automq cluster` against the admin page by its name: exit code, and everything that it said."""
    command = [sys.executable, "-m", "automq_broker", "cluster", *words]
    command += ["--admin", f"{scheme}://localhost:{broker.admin_port}", "--token-file", str(broker.directory / "token")]
    if authority is not None:
        command += ["--ca-file", str(authority)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=broker.directory, check=False)
    return done.returncode, done.stdout + done.stderr


def admin_over_tls(tmp_path: Path) -> tuple[BrokerProcess, Authority]:
    """A broker whose admin page has a certificate, and a token; its Kafka listener has neither."""
    authority = Authority(tmp_path, "ca")
    (tmp_path / "token").write_text(ADMIN_TOKEN)
    broker = BrokerProcess(tmp_path)
    broker.settings |= SETTINGS | {
        "admin.listener.security.protocol": "SSL",
        "listener.name.admin.ssl.keystore.location": str(authority.issue("admin")),
        "automq.admin.token.file": str(tmp_path / "token"),
    }
    broker.spawn()

    def is_served() -> bool:
        return cluster_command(broker, authority.file, "status")[0] == 0

    wait_until(is_served, 30, "the admin page over TLS")
    return broker, authority


def test_the_admin_page_serves_and_changes_over_tls_and_nobody_reads_the_token_without_it(tmp_path: Path) -> None:
    broker, authority = admin_over_tls(tmp_path)
    code, said = cluster_command(broker, authority.file, "drain", "1")
    assert code == 0, said
    assert '"is_cordoned": true' in cluster_command(broker, authority.file, "brokers", "--json")[1]
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other").file
    for stranger in (other, None):
        code, said = cluster_command(broker, stranger, "status")
        assert (code, said.count("\n"), "certificate verify failed" in said) == (1, 1, True), said
    code, said = cluster_command(broker, None, "status", scheme="http")
    assert (code, said.count("\n")) == (1, 1), said
    (tmp_path / "token").write_text("another-token-of-some-length")
    assert cluster_command(broker, authority.file, "status")[0] == 0, "it is read at each question, by both sides"
    broker.stop()
