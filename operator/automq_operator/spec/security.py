"""Where the certificate of TLS listeners comes from."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import ObjectName, Part, ruled


class IssuerRef(Part):
    """An issuer of cert-manager."""

    name: ObjectName
    """Its name."""
    kind: Literal["Issuer", "ClusterIssuer"] = "Issuer"
    """Its kind."""


class GeneratedAuthority(Part):
    """An authority of the cluster's own, made by the operator: it signs the brokers' certificate, and clients trust it
    by the ConfigMap <name>-ca. It is renewed long before its end: its successor is trusted first and signs later."""

    authority_days: Annotated[int, Field(ge=4, le=36500)] = 1825
    """How long an authority is valid. Its successor is made after two thirds of that and signs after three quarters:
    within that time clients have to take ca.crt anew. A change is about the next one."""
    certificate_days: Annotated[int, Field(ge=1, le=825)] = 90
    """How long a certificate of the brokers is valid; it is renewed after two thirds of that."""

    model_config = ruled(
        (
            "self.certificateDays * 4 <= self.authorityDays",
            "authorityDays is too short: at least four times certificateDays",
        ),
    )


class TlsCertificate(Part):
    """Where the certificate of the TLS listeners comes from; renewed ones are used without a restart."""

    generated: GeneratedAuthority | None = None
    """The operator makes and renews it, and the authority that signs it: `generated: {}` is enough."""
    issuer_ref: IssuerRef | None = None
    """cert-manager makes and renews it."""
    certificate_secret: ObjectName | None = None
    """A Secret of one's own with tls-combined.pem (private key, then the chain) and, for clientAuthentication, ca.crt."""

    model_config = ruled(
        (
            "(has(self.generated) ? 1 : 0) + (has(self.issuerRef) ? 1 : 0) + (has(self.certificateSecret) ? 1 : 0) == 1",
            "give one of generated, issuerRef and certificateSecret",
        ),
    )


class Security(Part):
    """Certificates. Brokers prove themselves to each other in any case, by a secret that the operator makes."""

    tls: TlsCertificate | None = None
    """The certificate of the listeners with tls: true."""


__all__ = ["GeneratedAuthority", "IssuerRef", "Security", "TlsCertificate"]
