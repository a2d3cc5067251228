"""The configuration of one node's programs: containerd, pod network, kubelet, kube-proxy."""

import json
import shutil
from pathlib import Path
from typing import Any

from e2e.cluster import pki
from e2e.cluster.layout import DNS_SERVICE_IP, POD_NETWORK, Node
from e2e.paths import NODES, PKI

PAUSE_IMAGE = "automq.e2e/pause:1"
LEASE_SECONDS = 8
"""The kubelet renews at a quarter of it: often enough for the controller manager's short grace period."""


def folder(node: Node) -> Path:
    """What the node keeps on its disk; its /var is below."""
    return NODES / node.name


def erase(node: Node) -> None:
    """A blank disk, as a new machine has."""
    shutil.rmtree(folder(node), ignore_errors=True)


def write(node: Node) -> None:
    """All files of the node, as they are at every boot."""
    home = folder(node)
    for path in ("kubelet", "containerd", "cni"):
        (home / "var" / "lib" / path).mkdir(parents=True, exist_ok=True)
    for path in ("log/pods", "log/containers", "tmp"):
        (home / "var" / path).mkdir(parents=True, exist_ok=True)
    for path in ("sysctl", "cni"):
        (home / path).mkdir(exist_ok=True)
    if not (home / "var" / "run").is_symlink():
        (home / "var" / "run").symlink_to("/run")
    (home / "resolv.conf").touch()
    (home / "containerd.toml").write_text(_containerd(home))
    (home / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(node)))
    (home / "kubelet.json").write_text(json.dumps(_kubelet(node, home), indent=1))
    (home / "kube-proxy.json").write_text(json.dumps(_kube_proxy(node), indent=1))
    # kubelet insists on these three and would change them for the whole machine: it meets files instead.
    for name, value in (("overcommit_memory", "1"), ("panic", "10"), ("panic_on_oops", "1")):
        (home / "sysctl" / name).write_text(value)


def _containerd(home: Path) -> str:
    """restrict_oom_score_adj: without CAP_SYS_RESOURCE a negative score is refused and no sandbox would start."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  device_ownership_from_security_context = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
"""


def _pod_network(node: Node) -> dict[str, Any]:
    """A bridge per node. Leases lie on the node's /run, so that a reboot leaves none behind."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/cni-leases",
            "ranges": [[{"subnet": node.pod_network}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}


def _kubelet(node: Node, home: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "5s"},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{PKI}/kubelet-{node.name}.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet-{node.name}.key",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [DNS_SERVICE_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": f"{home}/resolv.conf",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "10s",
        "nodeLeaseDurationSeconds": LEASE_SECONDS,
        "syncFrequency": "5s",
        # All nodes share one disk, and no registry could bring an image back that was collected.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "evictionPressureTransitionPeriod": "0s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 60,
        "healthzBindAddress": "127.0.0.1",
    }


def _kube_proxy(node: Node) -> dict[str, Any]:
    """conntrack: its sysctls are read-only outside the machine's own network, zeros leave them alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(pki.kubeconfig("kube-proxy"))},
        "mode": "iptables",
        "hostnameOverride": node.name,
        "clusterCIDR": POD_NETWORK,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
