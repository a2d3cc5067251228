"""A node's life: switched on, killed, frozen, cut off, switched on again. Always as a whole, as with a machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.build.binaries import binary
from e2e.cluster import cgroups, network, node_files, pki, processes, waiting
from e2e.cluster.layout import INSTANCE_TYPE, REGION, Node
from e2e.csi.disks import Attachment, Disks, Machine
from e2e.csi.loops import detach, loops_on
from e2e.paths import DISKS, LOGS, ROOT

INIT = Path(__file__).resolve().parent / "node_init.sh"
BOOT_SECONDS = 120.0

# The shell writes itself into every group first: the cgroup namespace takes its root from where its maker is.
_ENTER = """
for group in $GROUPS_OF_NODE; do echo $$ > "$group/cgroup.procs"; done
exec nsenter --net="$NETWORK" unshare --mount --pid --fork --uts --ipc --cgroup --propagation private bash "$INIT"
"""


def boot(node: Node, *, machine: str, images: Sequence[Path]) -> bool:
    """Switch it on, also after a kill; False when it runs already. `machine` is its instance's id.

    Images that its disk does not have yet are imported first. Raises TooLate, naming the log.
    """
    if is_running(node):
        return False
    network.lay_node(node)
    network.plug(node, is_in=True)
    home = node_files.folder(node)
    node_files.write(node)
    (home / "booted").unlink(missing_ok=True)
    (home / "pid").unlink(missing_ok=True)
    groups = cgroups.make(node)
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{node.name}-init.log").open("ab") as log:
        subprocess.Popen(
            ["bash", "-c", _ENTER],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_environment(node, machine, groups, images),
        )
    waiting.until((home / "pid").exists, f"{node.name} has a first process", seconds=10)
    waiting.until(lambda: (home / "pid").read_text().strip(), f"{node.name} has a first process", seconds=10)
    processes.remember(node.namespace, int((home / "pid").read_text()))
    return True


def wait_booted(node: Node) -> None:
    """Until its programs have been started; the kubelet registers some seconds later. Raises TooLate."""
    booted = node_files.folder(node) / "booted"
    waiting.until(booted.exists, f"{node.name} has booted, see {LOGS}/{node.name}-*.log", seconds=BOOT_SECONDS)


def kill(node: Node) -> None:
    """Pull the plug: every process of the node is gone when this returns, its mounts and devices with them.

    One thing differs from a power cut: what was written and not synced survives, since the page cache is the machine's.
    """
    left_behind = _devices_of_kubelet(node)
    processes.kill(node.namespace)
    cgroups.freeze(node, is_frozen=False)
    processes.stop(node.namespace)
    for device in left_behind:
        detach(device)


def freeze(node: Node) -> None:
    """Every process stands still: a machine that hangs. It holds its disks, and goes on where it was after `thaw`."""
    cgroups.freeze(node, is_frozen=True)


def thaw(node: Node) -> None:
    """The hang is over."""
    cgroups.freeze(node, is_frozen=False)


def cut_off(node: Node) -> None:
    """Nobody reaches it and it reaches nobody; its processes and its disks go on."""
    network.plug(node, is_in=False)


def heal(node: Node) -> None:
    """Back on the network."""
    network.plug(node, is_in=True)


def remove(node: Node) -> None:
    """Kill it and take away its groups and its network; its disk stays."""
    kill(node)
    cgroups.remove(node)
    network.remove(node.namespace)


def is_running(node: Node) -> bool:
    """Whether its first process lives, be it frozen or cut off."""
    return processes.is_running(node.namespace)


def enter(node: Node, *command: str, check: bool = True) -> str:
    """Run a command on the node; its output. Raises CalledProcessError."""
    done = subprocess.run(entering(node, *command), check=check, capture_output=True, text=True)
    return done.stdout


def start(node: Node, *command: str) -> subprocess.Popen[bytes]:
    """The same without waiting for its end; it dies with the node."""
    return subprocess.Popen(entering(node, *command))


def entering(node: Node, *command: str) -> list[str]:
    """The command line that runs `command` inside the node's namespaces."""
    pid = processes.pid_of(node.namespace)
    return ["nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--uts", "--ipc", "--", *command]


def machine_of(node: Node) -> str:
    """The id under which disks are plugged into it. Raises LookupError before its first boot."""
    for machine in Disks(DISKS).all(Machine):
        if machine.node == node.name:
            return machine.id
    raise LookupError(f"{node.name} has not been switched on yet")


def _devices_of_kubelet(node: Node) -> list[str]:
    """For raw block volumes the kubelet lays a loop device of its own on the driver's, and nobody frees it for him.

    On a machine of its own it would die with the kernel. It is looked up before the kill, while its disk is known.
    """
    disks = Disks(DISKS)
    machines = {machine.id for machine in disks.all(Machine) if machine.node == node.name}
    attached = [one.id for one in disks.all(Attachment) if one.machine in machines]
    drivers = [loop for id in attached for loop in disks.open_devices(id)]
    return [loop.path for driver in drivers for loop in loops_on(driver.path)]


def _environment(node: Node, machine: str, groups: Sequence[Path], images: Sequence[Path]) -> dict[str, str]:
    labels = {
        "topology.kubernetes.io/zone": node.zone,
        "topology.kubernetes.io/region": REGION,
        "node.kubernetes.io/instance-type": INSTANCE_TYPE,
    }
    own = {
        "GROUPS_OF_NODE": " ".join(map(str, groups)),
        "NETWORK": f"/run/netns/{node.namespace}",
        "INIT": str(INIT),
        "HIERARCHIES": " ".join(cgroups.HIERARCHIES),
        "HOME_FOLDER": str(node_files.folder(node)),
        "LOGS": str(LOGS),
        "ROOT": str(ROOT),
        "KEPT": " ".join(sorted({each for each in (str(ROOT), sys.prefix) if each.startswith("/var/")})),
        "PYTHON": sys.executable,
        "NODE": node.name,
        "ZONE": node.zone,
        "IP": node.ip,
        "MACHINE": machine,
        "PROVIDER_ID": f"aws:///{node.zone}/{machine}",
        "LABELS": ",".join(f"{key}={value}" for key, value in labels.items()),
        "IMAGES": " ".join(map(str, images)),
        "KUBELET": str(binary("kubelet")),
        "KUBELET_CONFIG": str(pki.kubeconfig(f"node-{node.name}")),
        "KUBE_PROXY": str(binary("kube-proxy")),
    }
    return {**os.environ, **own}
