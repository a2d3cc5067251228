"""Control groups of a node: one in every hierarchy of version 1, below the group that the caller is in itself.

They give a node what a machine has: a root of its own for kubelet and containerd, and one switch that stops all of it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from e2e.cluster.layout import Node
from e2e.paths import NODES

MOUNTS = Path("/sys/fs/cgroup")
HIERARCHIES = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd")
"""What kubelet, runc and cAdvisor ask for; `systemd` is the one without a controller, by which they find themselves."""


def missing() -> list[str]:
    """Hierarchies that this machine does not offer as version 1."""
    own = _own_groups()
    return [name for name in HIERARCHIES if name not in own or not (MOUNTS / name / "cgroup.procs").exists()]


def make(node: Node) -> list[Path]:
    """Fresh, empty groups; the folders, into whose cgroup.procs the node's first process writes itself."""
    remove(node)
    folders = []
    for name, group in _own_groups().items():
        if name in HIERARCHIES:
            folder = MOUNTS / name / group.lstrip("/") / node.namespace
            folder.mkdir(exist_ok=True)
            folders.append(folder)
            if name == "cpuset":
                for setting in ("cpuset.cpus", "cpuset.mems"):
                    (folder / setting).write_text((folder.parent / setting).read_text())
    _record(node).write_text(json.dumps([str(folder) for folder in folders]))
    return folders


def freeze(node: Node, *, is_frozen: bool) -> None:
    """Stop every process of the node where it stands, or let all go on. A frozen group also ignores SIGKILL until it thaws."""
    for folder in _recorded(node):
        if folder.parts[4] == "freezer":
            (folder / "freezer.state").write_text("FROZEN" if is_frozen else "THAWED")


def remove(node: Node, seconds: float = 5.0) -> None:
    """Remove the groups, containers' groups first; waits for their last processes to be gone.

    Also what a reboot needs: with the dead containers' groups in place cAdvisor takes seconds for each.
    """
    for folder in _recorded(node):
        end = time.monotonic() + seconds
        while folder.exists():
            for group in _deepest_first(folder):
                with suppress(OSError):
                    group.rmdir()
            if folder.exists() and time.monotonic() > end:
                raise TimeoutError(f"{folder} still holds processes: {(folder / 'cgroup.procs').read_text().split()}")
            time.sleep(0.02)
    _record(node).unlink(missing_ok=True)


def _own_groups() -> dict[str, str]:
    """Hierarchy -> the group of this very process, from /proc/self/cgroup."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        for name in controllers.removeprefix("name=").split(","):
            groups[name] = group
    return groups


def _record(node: Node) -> Path:
    """The caller of the next command may live in another group: what was made is written down."""
    return NODES / node.name / "cgroups.json"


def _recorded(node: Node) -> list[Path]:
    try:
        return [Path(folder) for folder in json.loads(_record(node).read_text())]
    except FileNotFoundError:
        return []


def _deepest_first(folder: Path) -> Iterator[Path]:
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        yield from _deepest_first(child)
    yield folder
