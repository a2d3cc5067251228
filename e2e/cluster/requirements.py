"""What the local cluster needs of a machine; every reason why it cannot run is said at once."""

import os
import shutil
import sys
from pathlib import Path

from e2e.cluster import cgroups
from e2e.paths import CACHE, ROOT

PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "nsenter": "util-linux",
    "blkid": "util-linux",
    "mount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "gcc": "gcc libc6-dev",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
"""Program -> the Debian packages that bring it."""

NETWORK_PLUGIN = Path("/usr/lib/cni/bridge")
HIDDEN_ON_NODES = ("/run", "/proc", "/sys")


class CannotRun(Exception):
    """The local cluster cannot run here; the message holds every reason."""


def check() -> None:
    """Raises CannotRun, with everything that is missing and the packages that bring it."""
    packages = {package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if not NETWORK_PLUGIN.exists():
        packages.add("containernetworking-plugins")
    reasons = _reasons()
    if packages:
        reasons.insert(0, f"programs are missing: apt install {' '.join(sorted(packages))}")
    if reasons:
        raise CannotRun("the local cluster cannot run here:\n" + "\n".join(f"  - {reason}" for reason in reasons))


def _reasons() -> list[str]:
    reasons = []
    if shutil.which("go") is None:
        reasons.append("no Go, which builds Kubernetes: 1.26 or newer from https://go.dev/dl")
    if os.geteuid() != 0:
        reasons.append("it makes namespaces, control groups and loop devices: root is needed")
    if not Path("/dev/loop-control").exists():
        reasons.append("no /dev/loop-control: the kernel has no loop devices")
    missing = cgroups.missing()
    if missing:
        reasons.append(f"no control groups of version 1 for {', '.join(missing)}; version 2 alone is not enough")
    hidden = {CACHE: ("/var", *HIDDEN_ON_NODES), ROOT: HIDDEN_ON_NODES, Path(sys.prefix): HIDDEN_ON_NODES}
    for needed, folders in hidden.items():
        if any(needed.is_relative_to(folder) for folder in folders):
            reasons.append(f"nodes have a {' and '.join(folders)} of their own and do not see {needed}: move it")
    return reasons
