"""What somebody wants to see of the cluster when a test has failed: pods, volumes, events, the disks' timeline."""

import time
from collections.abc import Iterator

from e2e.cluster.kubectl import Kubectl, KubectlError
from e2e.csi.disks import Disks
from e2e.paths import DISKS, LOGS

VIEWS = (
    ("get", "nodes", "-o", "wide"),
    ("get", "pods,pvc", "-o", "wide"),
    ("get", "volumeattachments"),
    ("get", "amq", "-o", "yaml"),
    ("logs", "deployment/automq-operator", "--tail=60"),
    ("get", "events", "--sort-by=.lastTimestamp"),
)
LINES_MAX = 90


def sections(kubectl: Kubectl) -> Iterator[tuple[str, str]]:
    """Title and text, one after the other; what cannot be had says why."""
    for view in VIEWS:
        try:
            text = kubectl.run(*view, seconds=10)
        except KubectlError as error:
            text = str(error)
        yield f"kubectl {' '.join(view)}", "\n".join(text.splitlines()[-LINES_MAX:])
    yield "disks, seconds ago", "\n".join(_timeline())
    yield "logs", f"{LOGS}"


def _timeline() -> Iterator[str]:
    now = time.time()
    for event in Disks(DISKS).events()[-LINES_MAX:]:
        details = " ".join(f"{name}={value}" for name, value in event.items() if name not in ("at", "event"))
        yield f"{now - event['at']:8.1f}  {event['event']} {details}"
