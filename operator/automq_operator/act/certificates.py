"""Makes and renews the authority of a cluster's own and the brokers' certificate. Keys go into Secrets and nowhere else.

SAFETY: what stands in a Secret is read once more before it is changed, and changed only as it was read. A Secret of that
name which is not the cluster's, or cannot be understood, is never written over.
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from automq_operator import kube, names
from automq_operator.act.hands import Hands
from automq_operator.kube import NotFoundError, Object
from automq_operator.loop import StepFailedError
from automq_operator.observe.certificates import (
    FORMER,
    KEY,
    NEXT,
    NEXT_KEY,
    Authority,
    BadSecretError,
    Due,
    due,
    pem,
    read_authority,
    value,
)
from automq_operator.shapes.certificates import Subject, subject
from automq_operator.spec import GeneratedAuthority

_SKEW: Final = timedelta(minutes=5)
"""Clocks of clients may be behind by so much."""


async def renew_authority(hands: Hands) -> None:
    """The next step of its life: made, given a successor, succeeded, or rid of one that has run out."""
    name = names.authority_secret(hands.cluster.name)
    secret = await _present(name, hands)
    if secret is None:
        await _create(name, _new(hands), hands)
        return
    try:
        authority = read_authority(secret)
        made = _renewed(secret, authority, due(authority, hands.now), hands)
    except BadSecretError as error:
        raise StepFailedError(f"Secret {name} cannot be used: {error}") from error
    if made is not None:
        await _write(secret, made, hands)


def _renewed(secret: Object, authority: Authority, step: Due | None, hands: Hands) -> dict[str, bytes] | None:
    """What the Secret is to hold; None if it is to stay."""
    at = datetime.fromtimestamp(hands.now, UTC)
    former = [each for each in authority.former if each.not_valid_after_utc > at]
    kept = {KEY: value(secret, KEY), names.CA_KEY: value(secret, names.CA_KEY)}
    match step:
        case Due.SUCCESSOR:
            key, certificate = _make_authority(hands)
            kept |= {NEXT_KEY: _pem(key), NEXT: pem(certificate).encode()}
        case Due.SWITCH:
            former += [authority.signing] if authority.signing.not_valid_after_utc > at else []
            kept = {KEY: value(secret, NEXT_KEY), names.CA_KEY: value(secret, NEXT)}
        case Due.NEW:
            return _new(hands)
        case Due.FORGET:
            kept |= {key: found for key in (NEXT_KEY, NEXT) if (found := value(secret, key))}
        case None:
            return None
    return kept | ({FORMER: "".join(map(pem, former)).encode()} if former else {})


def _new(hands: Hands) -> dict[str, bytes]:
    key, certificate = _make_authority(hands)
    return {KEY: _pem(key), names.CA_KEY: pem(certificate).encode()}


async def renew_certificate(hands: Hands) -> None:
    """A new key and a certificate for it, signed by whoever signs now; the old ones are forgotten."""
    cluster = hands.cluster
    name = names.certificate_secret(cluster.name)
    secret = await _present(name, hands)
    signer = await _present(names.authority_secret(cluster.name), hands)
    if signer is None:
        raise StepFailedError("its authority is missing")
    try:
        authority, signing_key = read_authority(signer), _key(value(signer, KEY))
    except BadSecretError as error:
        raise StepFailedError(f"its authority cannot be used: {error}") from error
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_brokers(key, subject(cluster), authority.signing, signing_key, hands)
    combined = _pem(key) + pem(certificate).encode()
    made = {names.TLS_KEY: combined, names.CA_KEY: authority.trusted.encode()}
    await (_create(name, made, hands) if secret is None else _write(secret, made, hands))


def _make_authority(hands: Hands) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    cluster, given = hands.cluster, _given(hands)
    key = ec.generate_private_key(ec.SECP256R1())
    # Two authorities of one cluster are told apart by their names as well: some clients look for the issuer by it.
    stamp = datetime.fromtimestamp(hands.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"{cluster.namespace}/{cluster.name}"[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {stamp}"),
        ]
    )
    builder = _builder(name, key, hands.now, timedelta(days=given.authority_days)).issuer_name(name)
    usage = _usage(is_authority=True)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return key, builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())


def _sign_brokers(
    key: ec.EllipticCurvePrivateKey,
    about: Subject,
    authority: x509.Certificate,
    signing_key: ec.EllipticCurvePrivateKey,
    hands: Hands,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{hands.cluster.name}-broker"[:64])])
    life = timedelta(days=_given(hands).certificate_days)
    vouched = [*map(x509.DNSName, about.dns), *(x509.IPAddress(ip_address(each)) for each in about.addresses)]
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(name, key, hands.now, life)
        .issuer_name(authority.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName(vouched), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(signing_key, hashes.SHA256())
    )


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, life: timedelta) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(int(now), UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _SKEW)
        .not_valid_after(at + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _given(hands: Hands) -> GeneratedAuthority:
    tls = hands.cluster.spec.security.tls
    return (tls.generated if tls is not None else None) or GeneratedAuthority()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


def _key(text: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadSecretError(f"{KEY} holds no key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadSecretError(f"{KEY} is of another kind than the operator makes")
    return key


async def _present(name: str, hands: Hands) -> Object | None:
    """The Secret as it is now. Raises StepFailedError if it is somebody else's."""
    try:
        secret = await hands.api.get(kube.SECRET, hands.cluster.namespace, name)
    except NotFoundError:
        return None
    owners = [each["uid"] for each in secret["metadata"].get("ownerReferences", ())]
    if hands.cluster.uid not in owners:
        raise StepFailedError(f"Secret {name} is there and is not this cluster's")
    return secret


async def _create(name: str, data: Mapping[str, bytes], hands: Hands) -> None:
    metadata = hands.cluster.metadata(name)
    made = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": _encoded(data)}
    await hands.api.create(kube.SECRET, made)


async def _write(secret: Object, data: Mapping[str, bytes], hands: Hands) -> None:
    metadata = secret["metadata"]
    tests = [
        {"op": "test", "path": f"/metadata/{each}", "value": metadata[each]} for each in ("uid", "resourceVersion")
    ]
    change = {"op": "add", "path": "/data", "value": _encoded(data)}
    await hands.api.patch(kube.SECRET, metadata["namespace"], metadata["name"], [*tests, change])


def _encoded(data: Mapping[str, bytes]) -> dict[str, str]:
    return {key: base64.b64encode(each).decode() for key, each in sorted(data.items())}


__all__ = ["renew_authority", "renew_certificate"]
