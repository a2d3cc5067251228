"""etcd, API server, controller manager, scheduler and CoreDNS, as processes of one network namespace."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from e2e.build.binaries import binary
from e2e.cluster import network, pki, processes
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import (
    CONTROL_PLANE_IP,
    CONTROL_PLANE_NAMESPACE,
    SERVICE_NETWORK,
)
from e2e.paths import PKI, RUN

MANIFESTS = Path(__file__).resolve().parent / "manifests"

UNREACHABLE_SECONDS = 5
"""How long pods stay on a node that is NotReady; Kubernetes' own default of 300 s is shortened, not its order of events."""
NODE_GRACE_SECONDS = 8
"""How long a kubelet may be silent before its node is NotReady (Kubernetes: 50 s)."""

API_SERVER_SECONDS = 90.0

ETCD = "http://127.0.0.1:2379"

PROGRAMS = ("coredns", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
"""In the order in which they are stopped."""


class DidNotStart(Exception):
    """A part of the cluster did not come up in its time; the message names its log."""


def up() -> None:
    """Start what does not run yet and wait until pods can be created. Raises DidNotStart."""
    network.lay_control_plane()
    _start("etcd", _etcd())
    # The controller manager ends if it does not find a ConfigMap that the API server writes just before it is ready.
    start_api_server()
    kubectl = Kubectl(pki.kubeconfig("admin"))
    _start("kube-controller-manager", _controller_manager())
    _start("kube-scheduler", _scheduler())
    kubectl.apply((MANIFESTS / "dns.yaml").read_text())
    kubectl.apply((MANIFESTS / "rbac.yaml").read_text())
    _start_dns()
    # Ready is not enough: pods are refused until their namespace has its ServiceAccount.
    wait_for(lambda: kubectl.has("serviceaccount", "default", "default"), "kube-controller-manager", seconds=60)


def stop_api_server() -> None:
    """Nobody hears from Kubernetes until `start_api_server`; what runs goes on. etcd keeps everything."""
    processes.stop("kube-apiserver")


def start_api_server() -> None:
    """Back again, and ready when this returns. Raises DidNotStart."""
    _start("kube-apiserver", _api_server())
    wait_for(Kubectl(pki.kubeconfig("admin")).is_ready, "kube-apiserver", seconds=API_SERVER_SECONDS)


def down() -> None:
    """End the processes and remove their network."""
    for name in PROGRAMS:
        processes.stop(name)
    network.remove(CONTROL_PLANE_NAMESPACE)


def wait_for(is_true: Callable[[], bool], name: str, *, seconds: float) -> None:
    """Poll until it holds. Raises DidNotStart when the time is over, or as soon as the process `name` has ended."""
    end = time.monotonic() + seconds
    while not is_true():
        if not processes.is_running(name):
            raise DidNotStart(f"{name} has ended: see {RUN}/log/{name}.log")
        if time.monotonic() > end:
            raise DidNotStart(f"{name} is not ready after {seconds:.0f} s: see {RUN}/log/{name}.log")
        time.sleep(0.1)


def _start(name: str, options: list[str]) -> None:
    processes.start(name, [binary(name), *options], network=CONTROL_PLANE_NAMESPACE)


def _etcd() -> list[str]:
    peer = "http://127.0.0.1:2380"
    return [
        "--name=e2e",
        f"--data-dir={RUN}/etcd",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=e2e={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server() -> list[str]:
    return [
        f"--etcd-servers={ETCD}",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        f"--advertise-address={CONTROL_PLANE_IP}",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={PKI}/sa.pub",
        f"--service-account-signing-key-file={PKI}/sa.key",
        f"--client-ca-file={PKI}/ca.crt",
        f"--tls-cert-file={PKI}/apiserver.crt",
        f"--tls-private-key-file={PKI}/apiserver.key",
        f"--kubelet-client-certificate={PKI}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={PKI}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={PKI}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={PKI}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={PKI}/front-proxy-client.crt",
        f"--proxy-client-key-file={PKI}/front-proxy-client.key",
        "--enable-aggregator-routing=true",  # there is no kube-proxy here: webhooks and aggregated APIs go to endpoints
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--admission-control-config-file={_pod_security()}",
        "--allow-privileged=true",
        f"--default-not-ready-toleration-seconds={UNREACHABLE_SECONDS}",
        f"--default-unreachable-toleration-seconds={UNREACHABLE_SECONDS}",
    ]


def _controller_manager() -> list[str]:
    return [
        *_as_client("kube-controller-manager"),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={PKI}/sa.key",
        f"--root-ca-file={PKI}/ca.crt",
        f"--cluster-signing-cert-file={PKI}/ca.crt",
        f"--cluster-signing-key-file={PKI}/ca.key",
        "--allocate-node-cidrs=false",
        "--node-monitor-period=1s",
        f"--node-monitor-grace-period={NODE_GRACE_SECONDS}s",
        "--node-startup-grace-period=20s",
        "--pvclaimbinder-sync-period=5s",
        "--v=2",
    ]


def _scheduler() -> list[str]:
    return [*_as_client("kube-scheduler"), "--v=2"]


def _as_client(name: str) -> list[str]:
    file = pki.kubeconfig(name)
    return [
        f"--kubeconfig={file}",
        f"--authentication-kubeconfig={file}",
        f"--authorization-kubeconfig={file}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    ]


def _pod_security() -> Path:
    """Baseline is enforced everywhere but in kube-system: what a careful platform team would have."""
    levels = {"enforce": "baseline", "enforce-version": "latest", "warn": "restricted", "warn-version": "latest"}
    configuration = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": levels,
        "exemptions": {"namespaces": ["kube-system"]},
    }
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{"name": "PodSecurity", "configuration": configuration}],
    }
    path = RUN / "admission.json"
    path.write_text(json.dumps(document))
    return path


def _start_dns() -> None:
    """CoreDNS answers on the control plane's address; the Service of kube-system leads there."""
    (RUN / "Corefile").write_text(
        (MANIFESTS / "Corefile").read_text().format(ip=CONTROL_PLANE_IP, kubeconfig=pki.kubeconfig("coredns"))
    )
    _start("coredns", ["-conf", f"{RUN}/Corefile"])
