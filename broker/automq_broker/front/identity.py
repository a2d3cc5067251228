"""Who is at the other end. The only way in this version to prove it is a client certificate.

SASL has its place here: an authenticator that answers None at the start lets a connection send only the three APIs that
lead to an identity, in small frames and for a short time, until the desk sets `ConnectionView.principal`.
"""

import re
from collections.abc import Callable
from typing import Any, Protocol

from automq_broker.kernel.errors import Refused

ANONYMOUS = "User:ANONYMOUS"


class Authenticator(Protocol):
    """Decides what a connection is when it opens."""

    def principal(self, certificate_name: str | None) -> str | None:
        """The principal, or None if the peer must prove itself by requests first.

        `certificate_name` is the verified certificate's name after the listener's mapping rules, None without one.
        """


class NoAuthentication:
    """Nothing to prove: a verified certificate's name, else ANONYMOUS."""

    def principal(self, certificate_name: str | None) -> str | None:
        """Never None."""
        return ANONYMOUS if certificate_name is None else f"User:{certificate_name}"


_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def distinguished_name(certificate: dict[str, Any]) -> str:
    """The subject of `SSLObject.getpeercert()` as RFC 2253 writes it: the most specific part first."""
    parts = []
    for group in reversed(certificate.get("subject", ())):
        parts.append("+".join(f"{_SHORT_NAMES.get(name, name)}={_escaped(value)}" for name, value in group))
    return ",".join(parts)


def _escaped(value: str) -> str:
    escaped = re.sub(r'([,+"\\<>;])', r"\\\1", value)
    if escaped[:1] in ("#", " "):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if len(escaped) > 1 and escaped.endswith(" ") else escaped


_RULE = re.compile(r"(DEFAULT)|RULE:((?:\\.|[^\\/])*)/((?:\\.|[^\\/])*)/([LU]?)")


def principal_mapping(rules: str) -> Callable[[str], str]:
    """A function from distinguished names to principal names, by Kafka's `ssl.principal.mapping.rules`.

    The first rule that matches the whole name gives the principal; without one the name itself. Raises Refused on rules
    that cannot be read. Source: Kafka's SslPrincipalMapper, KIP-371.
    """
    parsed = []
    position = 0
    while position < len(rules):
        match = _RULE.match(rules, position)
        if match is None:
            raise Refused(
                f"ssl.principal.mapping.rules: cannot read {rules[position : position + 60]!r}; "
                "allowed: DEFAULT, RULE:pattern/replacement/, RULE:pattern/replacement/L or .../U, separated by commas"
            )
        parsed.append(_compiled(match))
        position = match.end()
        while position < len(rules) and rules[position] in ", ":
            position += 1
    return lambda name: next((mapped for rule in parsed if (mapped := rule(name)) is not None), name)


def _compiled(match: re.Match[str]) -> Callable[[str], str | None]:
    if match[1]:
        return lambda name: name
    try:
        pattern = re.compile(match[2])
    except re.error as error:
        raise Refused(f"ssl.principal.mapping.rules: {match[2]!r} is not a pattern: {error}") from error
    # Java writes groups as $1, Python as \1.
    replacement = re.sub(r"\$(\d)", r"\\\1", match[3])
    case = {"L": str.lower, "U": str.upper}.get(match[4], str)

    def rule(name: str) -> str | None:
        found = pattern.fullmatch(name)
        return None if found is None else case(found.expand(replacement))

    return rule


__all__ = [
    "ANONYMOUS",
    "Authenticator",
    "NoAuthentication",
    "distinguished_name",
    "principal_mapping",
]
