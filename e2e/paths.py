"""Where everything lies. All of it is outside the tree, below one folder that may be deleted at any time while nothing runs."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The repository."""

CACHE = Path(os.environ.get("AUTOMQ_E2E_CACHE") or Path.home() / ".cache" / "automq-e2e")
"""What is kept between runs: programs, images, wheels. Each entry is named by the hash of what it was made from."""

RUN = CACHE / "run"
"""What one running cluster needs: keys, logs, process ids, etcd's data, the nodes' disks. `down` removes it."""

PKI = RUN / "pki"
LOGS = RUN / "log"
PIDS = RUN / "pid"
NODES = RUN / "nodes"
DISKS = RUN / "disks"
"""The CSI driver's volumes, attachments, faults and events."""
