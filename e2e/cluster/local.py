"""The local cluster as a whole: up and down, both as often as you like."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from e2e.aws import services
from e2e.aws.endpoints import EC2
from e2e.aws.instances import Instances, State
from e2e.cluster import (
    cgroups,
    control_plane,
    network,
    node,
    node_files,
    pki,
    processes,
    requirements,
    storage,
    waiting,
)
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import CONTROL_PLANE_NAMESPACE, NODES, Node
from e2e.csi.loops import LABEL, all_loops, detach, loops_on
from e2e.images.images import Image, all_images
from e2e.paths import DISKS, RUN
from e2e.progress import say, step

READY_SECONDS = 90.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
"""The taint by which somebody vouches for a node's death."""


def kubectl() -> Kubectl:
    """As the administrator."""
    return Kubectl(pki.kubeconfig("admin"))


def up(images: Iterable[Image] | None = None) -> None:
    """Everything that does not run is started, until all nodes are Ready and S3 stores objects.

    `images` are on every node afterwards; by default all that the tests need. Raises CannotRun where it cannot run.
    """
    requirements.check()
    wanted = list(all_images() if images is None else images)
    if is_up() and not processes.is_running("ec2"):
        say("EC2 is gone, and with it the books about these nodes: starting anew")
        down()
    with step("control plane"):
        pki.make()
        network.lay_control_plane()
        services.up()
        control_plane.up()
        storage.up(kubectl(), ec2=EC2)
    with step(f"{len(NODES)} nodes"):
        with ThreadPoolExecutor(len(NODES)) as pool:
            list(pool.map(lambda one: switch_on(one, [image.archive for image in wanted]), NODES))
        for image in wanted:
            load(image)
        services.wait_s3()


def down() -> None:
    """Every process, network, control group and device of the cluster goes, and its disks with it."""
    for one in NODES:
        node.remove(one)
    storage.down()
    services.down()
    control_plane.down()
    _free_devices()
    shutil.rmtree(RUN, ignore_errors=True)


def switch_on(one: Node, images: Iterable[Path] = ()) -> None:
    """Boot the node and wait until it is Ready.

    If its instance was terminated, this is a new machine under the old name: a blank disk, another instance, and the old
    Node object is gone.
    """
    instances = Instances()
    if instances.states().get(one.name) == State.TERMINATED:
        node.remove(one)
        node_files.erase(one)
        kubectl().run("delete", "node", one.name, "--ignore-not-found")
    machine = instances.switch_on(one)
    began = datetime.now(UTC)
    was_off = node.boot(one, machine=machine, images=list(images))
    node.wait_booted(one)
    if was_off:  # what Kubernetes says is what it heard before the plug was pulled, until the kubelet renews its lease
        waiting.until(lambda: _renewed(one) >= began, f"{one.name} speaks again", seconds=READY_SECONDS)
    wait_ready(one)


def wait_ready(one: Node) -> float:
    """Until Kubernetes calls the node Ready; how many seconds that took. Raises TooLate."""
    return waiting.until(lambda: is_ready(one), f"{one.name} is Ready", seconds=READY_SECONDS, every_seconds=0.5)


def _renewed(one: Node) -> datetime:
    lease = kubectl().within("kube-node-lease").find("lease", one.name)
    return datetime.fromisoformat(lease["spec"]["renewTime"]) if lease else datetime.min.replace(tzinfo=UTC)


def is_ready(one: Node) -> bool:
    """Whether its condition Ready is True, and its disks' driver is registered."""
    known, disks = kubectl().find("node", one.name), kubectl().find("csinode", one.name)
    if known is None or disks is None:
        return False
    conditions = {each["type"]: each["status"] for each in known["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and bool(disks["spec"].get("drivers"))


def vouch_dead(one: Node) -> None:
    """Set the out-of-service taint: pods are given up and disks detached without asking the node."""
    kubectl().run("taint", "node", one.name, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")


def load(image: Image) -> None:
    """Bring the image onto every node that runs and does not have it."""
    for one in NODES:
        imported = node_files.folder(one) / "images"
        if node.is_running(one) and str(image.archive) not in imported.read_text().splitlines():
            node.enter(one, "ctr", "--namespace", "k8s.io", "images", "import", str(image.archive))
            with imported.open("a") as log:
                log.write(f"{image.archive}\n")


def status() -> dict[str, str]:
    """What runs and what does not, by name."""
    parts = {
        name: processes.is_running(name) for name in (*control_plane.PROGRAMS, *storage.PROGRAMS, *services.PROGRAMS)
    }
    parts |= {one.name: node.is_running(one) for one in NODES}
    return {name: "running" if is_running else "down" for name, is_running in parts.items()}


def is_up() -> bool:
    """Whether anything of it is there."""
    return network.exists(CONTROL_PLANE_NAMESPACE)


def leftovers() -> list[str]:
    """What should be gone after `down` and is not: networks, control groups, devices, processes."""
    spaces = [name for name in (CONTROL_PLANE_NAMESPACE, *(one.namespace for one in NODES)) if network.exists(name)]
    groups = [str(folder) for one in NODES for folder in cgroups.MOUNTS.rglob(one.namespace)]
    devices = [loop.path for loop in all_loops() if loop.label == LABEL]
    return spaces + groups + devices + [name for name in processes.names() if processes.is_running(name)]


def _free_devices() -> None:
    """Loop devices free themselves when the last user is gone; one on our images that did not is freed by hand."""
    for image in DISKS.glob("*.img"):
        for loop in loops_on(image):
            detach(loop.path)
