"""TLS listeners: identities, reload without restart, errors that say what is wrong."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from automq_broker.front.tls import ReloadingContext, TlsFiles, build_context
from automq_broker.front.values import Limits
from automq_broker.kernel.errors import Refused
from automq_broker.wire.apis.k18_api_versions import ApiVersionsResponse
from twins.certificates import Authority
from twins.front_client import answer_versions, front

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on one of the two loops."""
    return asyncio.run if request.param == "asyncio" else uvloop.run


def _client_context(trusted: Path, certificate: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusted))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def test_requests_of_every_size_pass_through_tls(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(authority.issue("broker"))))

    async def scenario() -> None:
        async with front(answer_versions, listener={"tls": tls}) as f:
            client = await f.client(ssl=_client_context(authority.file), server_hostname="localhost")
            for _ in range(200):
                client.send_versions()
            for _ in range(200):
                await client.answer()
            assert f.server.connections()[0].principal == "User:ANONYMOUS"
            await client.close()

    run(scenario())


def test_a_client_certificate_is_the_principal(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    files = TlsFiles(key_file=str(authority.issue("broker")), trust_file=str(authority.file), client_auth="required")
    seen: list[Any] = []

    def handler(header: Any, request: Any, view: Any) -> ApiVersionsResponse:
        seen.append((view.principal, view.is_tls))
        return ApiVersionsResponse()

    async def scenario() -> None:
        async with front(handler, listener={"tls": ReloadingContext("SSL", files)}) as f:
            context = _client_context(authority.file, authority.issue("alice"))
            client = await f.client(ssl=context, server_hostname="localhost")
            client.send_versions()
            await client.answer()
            assert seen == [("User:CN=alice,O=Twins", True)]
            stranger = await f.client(ssl=_client_context(authority.file), server_hostname="localhost")
            assert await stranger.is_closed()
            await f.until(lambda: f.meters.refused == ["handshake"])
            await client.close()

    run(scenario())


def test_a_plain_client_on_a_tls_port_is_turned_away(run: Run, tmp_path: Path) -> None:
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(Authority(tmp_path, "ca").issue("broker"))))

    async def scenario() -> None:
        async with front(answer_versions, listener={"tls": tls}) as f:
            client = await f.client()
            client.send_versions()
            await f.until(lambda: f.meters.refused == ["handshake"])

    run(scenario())


def test_a_peer_that_does_not_shake_hands_is_closed(run: Run, tmp_path: Path) -> None:
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(Authority(tmp_path, "ca").issue("broker"))))

    async def scenario() -> None:
        async with front(answer_versions, limits=Limits(handshake_s=0.1), listener={"tls": tls}) as f:
            client = await f.client()
            assert await client.is_closed()
            assert f.meters.opened == 0

    run(scenario())


def test_handshakes_count_as_connections(run: Run, tmp_path: Path) -> None:
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(Authority(tmp_path, "ca").issue("broker"))))

    async def scenario() -> None:
        async with front(answer_versions, limits=Limits(connections=2), listener={"tls": tls}) as f:
            held = [await f.client() for _ in range(2)]
            await asyncio.sleep(0.02)
            refused = await f.client()
            assert await refused.is_closed()
            assert f.meters.refused == ["max.connections"]
            for client in held:
                await client.close()

    run(scenario())


def test_a_changed_file_serves_the_next_handshake_and_leaves_open_connections_alone(run: Run, tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    key_file = old.issue("broker", file_name="broker.pem")
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(key_file)))

    async def scenario() -> None:
        async with front(answer_versions, listener={"tls": tls}) as f:
            before = await f.client(ssl=_client_context(old.file), server_hostname="localhost")
            new.issue("broker", file_name="broker.pem")
            assert tls.look()
            after = await f.client(ssl=_client_context(new.file), server_hostname="localhost")
            for client in (before, after):
                client.send_versions()
                await client.answer()
            with pytest.raises(ssl.SSLCertVerificationError):
                await f.client(ssl=_client_context(old.file), server_hostname="localhost")
            for client in (before, after):
                await client.close()

    run(scenario())


def test_a_changed_file_that_cannot_be_used_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key_file = Authority(tmp_path, "ca").issue("broker")
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(key_file)))
    context = tls()
    key_file.write_text("half written")
    assert not tls.look()
    assert tls() is context
    assert tls.failures_total == 1
    assert not tls.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_the_server_looks_for_changes_by_itself(run: Run, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    tls = ReloadingContext("SSL", TlsFiles(key_file=str(authority.issue("broker", file_name="broker.pem"))))

    async def scenario() -> None:
        async with front(answer_versions, limits=Limits(certificates_s=0.01), listener={"tls": tls}) as f:
            authority.issue("broker", file_name="broker.pem")
            await f.until(lambda: tls.reloads_total == 1)

    run(scenario())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (TlsFiles(key_file="/does/not/exist.pem"), "cannot read /does/not/exist.pem"),
        (TlsFiles(key_text="x", chain_text="y"), r"ssl\.keystore\.key cannot be used"),
    ],
)
def test_unusable_files_are_refused_with_the_listener_and_the_file(files: TlsFiles, words: str) -> None:
    with pytest.raises(Refused, match=rf"listener INTERNAL: {words}"):
        build_context("INTERNAL", files)


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    key_file = str(Authority(tmp_path, "ca").issue("broker", password=b"secret"))
    build_context("SSL", TlsFiles(key_file=key_file, key_password="secret"))
    with pytest.raises(Refused):
        build_context("SSL", TlsFiles(key_file=key_file))
    with pytest.raises(Refused):
        build_context("SSL", TlsFiles(key_file=key_file, key_password="wrong"))


def test_keys_may_come_as_text(tmp_path: Path) -> None:
    text = Authority(tmp_path, "ca").issue("broker").read_text()
    key, certificate = text.split("-----BEGIN CERTIFICATE-----")
    build_context("SSL", TlsFiles(key_text=key, chain_text="-----BEGIN CERTIFICATE-----" + certificate))


def test_unknown_ciphers_are_refused(tmp_path: Path) -> None:
    key_file = str(Authority(tmp_path, "ca").issue("broker"))
    with pytest.raises(Refused, match=r"ssl\.cipher\.suites"):
        build_context("SSL", TlsFiles(key_file=key_file, ciphers=("NO_SUCH",)))
