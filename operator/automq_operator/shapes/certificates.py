"""What certificates are about: names and addresses of brokers, cert-manager's Certificate, and what clients trust."""

from dataclasses import dataclass
from ipaddress import ip_address

from automq_operator import names
from automq_operator.shapes.cluster import BOOTSTRAP, Cluster, Manifest, filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a certificate of the brokers vouches for; all brokers have the same one."""

    dns: tuple[str, ...]
    addresses: tuple[str, ...]


def subject(cluster: Cluster) -> Subject:
    """The same whatever the number of brokers, where templates allow it: no scale-out waits for a certificate."""
    bootstrap, inside = names.bootstrap_service(cluster.name), f"{cluster.namespace}.svc"
    found = [bootstrap, f"{bootstrap}.{cluster.namespace}", f"{bootstrap}.{inside}"]
    found.append(f"*.{names.headless_service(cluster.name)}.{inside}")
    found += [name for template in _templates(cluster) for name in _of_template(cluster, template)]
    found += _reported(cluster)
    addresses = [each for each in found if _is_address(each)]
    dns = [each for each in found if each not in addresses]
    return Subject(dns=tuple(dict.fromkeys(dns)), addresses=tuple(dict.fromkeys(addresses)))


def _templates(cluster: Cluster) -> list[str]:
    found = [each.advertised.host_template for each in cluster.spec.listeners if each.tls]
    return [each for each in found if each is not None]


def _of_template(cluster: Cluster, template: str) -> list[str]:
    first, _, rest = template.partition(".")
    if _is_address(template):
        return [template]
    if "{nodeId}" in rest:
        return [filled(template, each, cluster.zone_of(each)) for each in cluster.node_ids()]
    if "{" in rest:
        return [f"*.{filled(rest, '', zone.name)}" for zone in cluster.zones]
    return [f"*.{rest}" if "{" in first else template]


def _reported(cluster: Cluster) -> list[str]:
    """What load balancers of TLS listeners were given: clients come by the first one, and by the others without a template."""
    found = []
    for listener in cluster.spec.listeners:
        if listener.tls and listener.type == "LoadBalancer":
            is_told = listener.advertised.host_template is None
            node_ids = [BOOTSTRAP, *(cluster.node_ids() if is_told else ())]
            found += [cluster.addresses.get((listener.name, each), ("", 0))[0] for each in node_ids]
    return [each for each in found if each]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def certificate(cluster: Cluster) -> Manifest | None:
    """What cert-manager is asked for; None where it has nothing to do."""
    tls = cluster.spec.security.tls
    if tls is None or tls.issuer_ref is None or cluster.tls_secret is None:
        return None
    about = subject(cluster)
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": cluster.metadata(names.tls_secret(cluster.name)),
        "spec": {
            "secretName": cluster.tls_secret,
            "issuerRef": {"name": tls.issuer_ref.name, "kind": tls.issuer_ref.kind},
            "dnsNames": list(about.dns),
            **({"ipAddresses": list(about.addresses)} if about.addresses else {}),
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth", "client auth"],
            "additionalOutputFormats": [{"type": "CombinedPEM"}],
        },
    }


def authorities(cluster: Cluster) -> Manifest | None:
    """What clients trust, for everybody to read; None where there is no authority of the cluster's own, or not yet."""
    if not cluster.has_authority or not cluster.authorities:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.metadata(names.authorities(cluster.name)),
        "data": {names.CA_KEY: cluster.authorities},
    }


__all__ = ["Subject", "authorities", "certificate", "subject"]
