"""The disks' part of the control plane: the CSI controller and the external-attacher that drives it."""

import sys

from e2e.build.binaries import binary
from e2e.cluster import pki, processes, waiting
from e2e.cluster.control_plane import MANIFESTS
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import CONTROL_PLANE_NAMESPACE
from e2e.paths import LOGS, ROOT, RUN

PROGRAMS = ("csi-attacher", "csi-controller")
SOCKET = RUN / "csi.sock"


def up(kubectl: Kubectl, *, ec2: str) -> None:
    """Driver object, storage class, both processes; `ec2` is the endpoint whose books are kept in step."""
    kubectl.apply((MANIFESTS / "storage.yaml").read_text())
    controller = ["controller", f"--socket={SOCKET}", f"--kubeconfig={pki.kubeconfig('csi')}", f"--ec2={ec2}"]
    if not processes.is_running("csi-controller"):
        SOCKET.unlink(missing_ok=True)
    processes.start(
        "csi-controller",
        [sys.executable, "-m", "e2e.csi", *controller],
        network=CONTROL_PLANE_NAMESPACE,
        environment={"PYTHONPATH": str(ROOT)},
    )
    waiting.until(SOCKET.exists, f"the CSI controller listens, see {LOGS}/csi-controller.log", seconds=30)
    processes.start(
        "csi-attacher",
        [
            binary("csi-attacher"),
            f"--csi-address={SOCKET}",
            f"--kubeconfig={pki.kubeconfig('csi')}",
            "--timeout=15s",
            "--retry-interval-start=500ms",
            "--retry-interval-max=5s",
            "--v=3",
        ],
        network=CONTROL_PLANE_NAMESPACE,
    )


def down() -> None:
    """End both."""
    for name in PROGRAMS:
        processes.stop(name)
