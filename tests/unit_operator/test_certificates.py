"""Certificates of a cluster's own authority: brokers serve with them, clients check them, renewal interrupts nobody."""

import base64
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from automq_broker.front.tls import ReloadingContext, TlsFiles
from automq_operator import names
from automq_operator.kube import Object
from automq_operator.platforms.kubernetes.keeper import Keeper
from twins.kube_world import KubeWorld

DAY = 86_400.0
_AN_HOUR_AGO = time.time() - 3600
"""OpenSSL checks certificates by the real time."""
POD = "orders-broker-1.orders-brokers.shop.svc"
TLS: dict[str, Any] = {
    "listeners": [{"name": "secure", "tls": True}],
    "security": {"tls": {"generated": {"authorityDays": 400, "certificateDays": 90}}},
}


def running(**changes: Any) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of()
    world.api.now = _AN_HOUR_AGO
    world.create(**(TLS | changes))
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def held(world: KubeWorld, name: str) -> dict[str, bytes]:
    secret = world.api.objects["Secret", "shop", name]
    return {key: base64.b64decode(each) for key, each in secret["data"].items()}


def trusted(world: KubeWorld) -> str:
    """What a client was told to trust."""
    return str(world.api.objects["ConfigMap", "shop", "orders-ca"]["data"]["ca.crt"])


class Mount:
    """A pod's mounted Secret, with the broker's own TLS context on it."""

    def __init__(self, world: KubeWorld, folder: Path) -> None:
        self._world, self._folder = world, folder
        self.sync()
        key, trust = str(folder / names.TLS_KEY), str(folder / names.CA_KEY)
        self.context = ReloadingContext("SECURE", TlsFiles(key_file=key, trust_file=trust, client_auth="required"))

    def sync(self) -> None:
        """As the kubelet does it."""
        for key, value in held(self._world, "orders-certificate").items():
            if not (self._folder / key).exists() or (self._folder / key).read_bytes() != value:
                (self._folder / key).unlink(missing_ok=True)
                (self._folder / key).write_bytes(value)


def shake(server: ssl.SSLContext, trust: str, host: str, own: Path) -> None:
    """A handshake in memory; raises ssl.SSLError as a client or a server would see it."""
    client = ssl.create_default_context(cadata=trust)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(own)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for each in sides:
            try:
                each.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert sides[1].getpeercert(), "the client has shown who it is"


def test_brokers_serve_with_a_certificate_that_clients_can_check_by_every_name(tmp_path: Path) -> None:
    world, _ = running()
    mount = Mount(world, tmp_path)
    for host in (POD, "orders-bootstrap", "orders-bootstrap.shop", "orders-bootstrap.shop.svc"):
        shake(mount.context(), trusted(world), host, tmp_path / names.TLS_KEY)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(mount.context(), trusted(world), "orders-broker-1.copy-brokers.shop.svc", tmp_path / names.TLS_KEY)


def test_no_pod_mounts_the_authoritys_key_and_none_has_a_secret_in_its_environment() -> None:
    world, _ = running()
    for pod in world.api.of("Pod"):
        mounted = {each["secret"]["secretName"] for each in pod["spec"]["volumes"] if "secret" in each}
        assert mounted == {"orders-internal", "orders-certificate"}
        assert "secretKeyRef" not in str(pod)
    assert "PRIVATE" not in trusted(world)
    assert b"PRIVATE" not in held(world, "orders-certificate")["ca.crt"]


def test_a_certificate_is_renewed_in_time_without_touching_any_broker(tmp_path: Path) -> None:
    world, keeper = running()
    mount, before = Mount(world, tmp_path), held(world, "orders-certificate")
    pods = {each["metadata"]["uid"] for each in world.api.of("Pod")}
    world.api.now += 59 * DAY
    world.run(keeper, 3)
    assert held(world, "orders-certificate") == before, "a third of its time is left"
    world.api.now += 2 * DAY
    world.run(keeper, 3)
    after = held(world, "orders-certificate")
    assert after[names.TLS_KEY] != before[names.TLS_KEY]
    assert after[names.CA_KEY] == before[names.CA_KEY]
    assert {each["metadata"]["uid"] for each in world.api.of("Pod")} == pods
    mount.sync()
    assert mount.context.look(), "the broker takes the new files without a restart"


def test_an_authority_is_succeeded_and_no_client_ever_meets_one_that_it_does_not_know(tmp_path: Path) -> None:
    """A client that took ca.crt at any time goes on for a twelfth of the authority's life at least."""
    world, keeper = running()
    signers, told = [], [trusted(world)]
    for _ in range(400):
        world.run(keeper, 1, seconds=1)
        world.run(keeper, 1, seconds=DAY - 1)
        combined = held(world, "orders-certificate")
        assert combined[names.CA_KEY].decode() == trusted(world), "brokers and clients trust the same"
        signers.append(held(world, "orders-authority")["ca.crt"].decode())
        # What a client knew 30 days ago still holds the one that signs today.
        assert signers[-1] in told[-30:][0]
        told.append(trusted(world))
    assert len(set(signers)) == 2
    assert signers.index(signers[-1]) in range(298, 304)
    assert signers[0] in trusted(world), "and what the first one signed is still trusted until its end"
    world.run(keeper, 3, seconds=2 * DAY)
    assert signers[0] not in trusted(world)
    assert trusted(world).count("BEGIN") == 1


def test_a_fresh_operator_finds_nothing_to_renew() -> None:
    world, _ = running()
    before = len(world.api.writes)
    world.run(world.operator(), 5)
    assert world.api.writes[before:] == []


def test_the_address_of_a_load_balancer_is_vouched_for_once_it_is_known(tmp_path: Path) -> None:
    world = KubeWorld.of()
    world.api.now = _AN_HOUR_AGO
    world.create(
        listeners=[{"name": "outer", "type": "LoadBalancer", "port": 9094, "tls": True}], security=TLS["security"]
    )
    keeper = world.operator()
    world.run(keeper, 3)
    for service in world.api.of("Service"):
        if service["spec"].get("type") == "LoadBalancer":
            number = service["metadata"]["name"].rpartition("-")[2]
            ingress: Object = {"ip": "192.0.2.7"} if number == "bootstrap" else {"hostname": f"lb{number}.example.com"}
            service["status"] = {"loadBalancer": {"ingress": [ingress]}}
    world.settle(keeper)
    mount = Mount(world, tmp_path)
    for host in ("lb2.example.com", "192.0.2.7"):
        shake(mount.context(), trusted(world), host, tmp_path / names.TLS_KEY)


def test_a_secret_that_somebody_else_made_is_not_written_over_and_is_named() -> None:
    world = KubeWorld.of()
    metadata = {"name": "orders-authority", "namespace": "shop"}
    world.api.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"ca.crt": "AAAA"}})
    world.create(**TLS)
    world.run(world.operator(), 5)
    assert held(world, "orders-authority") == {"ca.crt": b"\0\0\0"}
    assert "orders-authority" in world.condition("Degraded")["message"]


def test_a_damaged_authority_is_named_and_everything_else_goes_on() -> None:
    world, keeper = running()
    world.api.objects["Secret", "shop", "orders-authority"]["data"]["ca.crt"] = "AAAA"
    world.change(brokers={"replicas": 4})
    world.run(keeper, 20)
    assert "cannot be used" in world.condition("Degraded")["message"]
    assert len(world.brokers) == 4
    assert held(world, "orders-authority")["ca.crt"] == b"\0\0\0"
