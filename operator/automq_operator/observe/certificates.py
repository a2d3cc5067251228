"""The authority of a cluster's own and its brokers' certificate as they stand in Secrets, and what is due to them.

An authority is succeeded in two steps, so that no client meets one that it does not know: the successor is made and trusted
after two thirds of the authority's life, and signs after three quarters. All times are those in the certificates.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.observe.look import Look
from automq_operator.shapes.certificates import Subject, subject
from automq_operator.shapes.cluster import Cluster
from automq_operator.world import StaleObject

KEY: Final = "ca.key"
NEXT_KEY: Final = "next.key"
NEXT: Final = "next.crt"
FORMER: Final = "former.crt"
"""Keys of the authority's Secret, besides ca.crt: the successor, and those that signed before and are still trusted."""

_SUCCESSOR_AT: Final = 2 / 3
_SWITCH_AT: Final = 1 / 12
"""Age of the successor, as a part of an authority's life: two thirds and a twelfth are three quarters."""
_RENEWED_AT: Final = 2 / 3


class BadSecretError(Exception):
    """A Secret does not hold what the operator put into it; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who signs, who will, and who did."""

    signing: x509.Certificate
    successor: x509.Certificate | None = None
    former: tuple[x509.Certificate, ...] = ()

    @property
    def trusted(self) -> str:
        """PEM of all of them."""
        found = [self.signing, *([self.successor] if self.successor else []), *self.former]
        return "".join(pem(each) for each in found)


class Due(StrEnum):
    """What an authority needs, as the reason for it."""

    SUCCESSOR = "its authority needs a successor"
    SWITCH = "the successor signs from now on"
    FORGET = "a former authority has run out"
    NEW = "its authority has run out"


def read_authority(secret: Object) -> Authority:
    """Raises BadSecretError."""
    (signing,) = _certificates(secret, names.CA_KEY, 1)
    successor = _certificates(secret, NEXT, 1) if value(secret, NEXT) else ()
    return Authority(signing=signing, successor=next(iter(successor), None), former=_certificates(secret, FORMER, 0))


def trusted_by_clients(secret: Object | None) -> str:
    """PEM of the authorities; "" where there are none, or none that can be read."""
    try:
        return read_authority(secret).trusted if secret is not None else ""
    except BadSecretError:
        return ""


def due(authority: Authority, now: float) -> Due | None:
    """The next step of its renewal; None while it is well."""
    at = datetime.fromtimestamp(now, UTC)
    if authority.successor is not None:
        if passed(authority.successor, at) >= _SWITCH_AT or at >= authority.signing.not_valid_after_utc:
            return Due.SWITCH
    elif at >= authority.signing.not_valid_after_utc:
        return Due.NEW
    elif passed(authority.signing, at) >= _SUCCESSOR_AT:
        return Due.SUCCESSOR
    return Due.FORGET if any(each.not_valid_after_utc <= at for each in authority.former) else None


def passed(certificate: x509.Certificate, at: datetime) -> float:
    """The part of a certificate's life that is over."""
    whole = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return (at - certificate.not_valid_before_utc) / whole


def stale_certificates(look: Look, cluster: Cluster, now: float) -> list[StaleObject]:
    """The authority's Secret before the certificate's."""
    why = _why_authority(look.authority, now)
    name = names.authority_secret(cluster.name)
    found = [StaleObject(kind="Secret", name=name, why=why)] if why else []
    why = "its authority changes" if why else _why_certificate(look, subject(cluster), now)
    name = names.certificate_secret(cluster.name)
    return [*found, StaleObject(kind="Secret", name=name, why=why)] if why else found


def _why_authority(secret: Object | None, now: float) -> str:
    if secret is None:
        return "it is missing"
    try:
        return str(due(read_authority(secret), now) or "")
    except BadSecretError as error:
        return f"it cannot be used: {error}"


def _why_certificate(look: Look, about: Subject, now: float) -> str:
    assert look.authority is not None
    authority, secret = read_authority(look.authority), look.certificate
    if secret is None:
        return "it is missing"
    try:
        own = _certificates(secret, names.TLS_KEY, 1)[0]
    except BadSecretError as error:
        return f"it cannot be used: {error}"
    if key_id(authority.signing) != _signer(own):
        return "another authority signs now"
    if names_of(own) != (frozenset(about.dns), frozenset(about.addresses)):
        return "the brokers have other names"
    if passed(own, datetime.fromtimestamp(now, UTC)) >= _RENEWED_AT:
        return "two thirds of its time are over"
    return "" if value(secret, names.CA_KEY) == authority.trusted.encode() else "other authorities are trusted now"


def names_of(certificate: x509.Certificate) -> tuple[frozenset[str], frozenset[str]]:
    """Host names and addresses that it vouches for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(), frozenset()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return frozenset(found.get_values_for_type(x509.DNSName)), frozenset(addresses)


def key_id(authority: x509.Certificate) -> bytes:
    """Names an authority's key."""
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _signer(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.key_identifier


def pem(certificate: x509.Certificate) -> str:
    """As text."""
    return certificate.public_bytes(Encoding.PEM).decode()


def value(secret: Object, key: str) -> bytes:
    """What a Secret holds under a key; empty if nothing. Raises BadSecretError."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, ""))
    except binascii.Error as error:
        raise BadSecretError(f"{key}: {error}") from error


def _certificates(secret: Object, key: str, least: int) -> tuple[x509.Certificate, ...]:
    text = value(secret, key)
    try:
        found = tuple(x509.load_pem_x509_certificates(text)) if text else ()
    except ValueError as error:
        raise BadSecretError(f"{key} holds no certificate: {error}") from error
    if len(found) < least:
        raise BadSecretError(f"{key} is missing")
    return found


__all__ = [
    "FORMER",
    "KEY",
    "NEXT",
    "NEXT_KEY",
    "Authority",
    "BadSecretError",
    "Due",
    "due",
    "key_id",
    "names_of",
    "passed",
    "pem",
    "read_authority",
    "stale_certificates",
    "trusted_by_clients",
    "value",
]
