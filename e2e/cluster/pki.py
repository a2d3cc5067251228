"""Keys, certificates and kubeconfigs of the local cluster: one authority for everybody, one more for aggregated APIs."""

import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster.layout import API_SERVER, API_SERVICE_IP, CONTROL_PLANE_IP, NODES
from e2e.paths import PKI

API_SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who speaks to the API server: the file that its kubeconfig is named after, its user and its groups."""

    file: str
    user: str
    groups: tuple[str, ...] = ()


CLIENTS = (
    Client(file="admin", user="admin", groups=("system:masters",)),
    Client(file="kube-controller-manager", user="system:kube-controller-manager"),
    Client(file="kube-scheduler", user="system:kube-scheduler"),
    Client(file="kube-proxy", user="system:kube-proxy"),
    Client(file="coredns", user="e2e:coredns"),
    Client(file="csi", user="e2e:csi"),
    *(Client(file=f"node-{node.name}", user=f"system:node:{node.name}", groups=("system:nodes",)) for node in NODES),
)


class Authority:
    """A self-signed certificate authority whose certificate lies in `<name>.crt`."""

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"automq-e2e-{name}")])
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = _key_usage(is_authority=True)
        builder = _builder(self._name, self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        _write(name, self._key, self.certificate)

    def issue(
        self, file: str, common_name: str, groups: Sequence[str] = (), *, server_names: Sequence[str] = ()
    ) -> None:
        """Write `<file>.crt` and `<file>.key`: for a server when names or addresses are given, else for a client."""
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
            + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        )
        key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if server_names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = _builder(subject, self._name, key.public_key())
        builder = builder.add_extension(_key_usage(is_authority=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if server_names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in server_names]), critical=False
            )
        _write(file, key, builder.sign(self._key, hashes.SHA256()))


def make() -> None:
    """Everything that the control plane and the nodes need, once; a second call changes nothing."""
    if (PKI / "done").exists():
        return
    PKI.mkdir(parents=True, exist_ok=True)
    authority = Authority("ca")
    authority.issue(
        "apiserver", "kube-apiserver", server_names=[*API_SERVER_NAMES, CONTROL_PLANE_IP, "127.0.0.1", API_SERVICE_IP]
    )
    authority.issue("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
    for client in CLIENTS:
        authority.issue(client.file, client.user, client.groups)
        _write_kubeconfig(client.file)
    for node in NODES:
        authority.issue(
            f"kubelet-{node.name}", f"system:node:{node.name}", ["system:nodes"], server_names=[node.ip, node.name]
        )
    Authority("front-proxy-ca").issue("front-proxy-client", "front-proxy-client")
    service_accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (PKI / "sa.key").write_bytes(_pem(service_accounts))
    (PKI / "sa.pub").write_bytes(
        service_accounts.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (PKI / "done").touch()


def kubeconfig(file: str) -> Path:
    """The kubeconfig of that client."""
    return PKI / f"{file}.kubeconfig"


def _write_kubeconfig(file: str) -> None:
    files = {
        "certificate-authority": PKI / "ca.crt",
        "client-certificate": PKI / f"{file}.crt",
        "client-key": PKI / f"{file}.key",
    }
    cluster = {"server": API_SERVER, "certificate-authority": str(files["certificate-authority"])}
    user = {name: str(files[name]) for name in ("client-certificate", "client-key")}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": cluster}],
        "users": [{"name": file, "user": user}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": file}}],
        "current-context": "e2e",
    }
    kubeconfig(file).write_text(json.dumps(document, indent=1))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    path = PKI / f"{name}.key"
    path.touch(mode=0o600)
    path.write_bytes(_pem(key))
    (PKI / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
