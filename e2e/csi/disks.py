"""What the disks' world knows, as files that survive every process: volumes, attachments, nodes, faults, events."""

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from e2e.csi.loops import Loop, loops_on

Record = TypeVar("Record", "Volume", "Attachment", "Machine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A disk. It exists in one zone, as EBS's do; '' for one that may go anywhere."""

    id: str
    name: str
    size_bytes: int
    zone: str
    throughput_mib: int = 0
    """MiB per second; 0 for no limit."""
    iops: int = 0
    """Reads and writes per second, each; 0 for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Where a disk is plugged in: at most one per volume."""

    id: str
    machine: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where disks can be plugged in. `id` is what CSI calls node id; with EC2 around it is the instance's id."""

    id: str
    node: str
    zone: str


class Disks:
    """One folder with everything. The controller alone changes volumes and attachments; every process may add events."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for kind in (Volume, Attachment, Machine):
            (folder / kind.__name__).mkdir(parents=True, exist_ok=True)

    def read(self, kind: type[Record], id: str) -> Record | None:
        """One record, or None."""
        try:
            return kind(**json.loads((self._folder / kind.__name__ / id).read_text()))
        except (FileNotFoundError, OSError):
            return None

    def all(self, kind: type[Record]) -> list[Record]:
        """Every record of that kind."""
        found = (self.read(kind, path.name) for path in sorted((self._folder / kind.__name__).glob("[!.]*")))
        return [record for record in found if record is not None]

    def write(self, record: Volume | Attachment | Machine) -> None:
        """On the disk when this returns, as a whole."""
        path = self._folder / type(record).__name__ / record.id
        unfinished = path.with_name(f".{record.id}.{os.getpid()}")
        with unfinished.open("w") as file:
            json.dump(asdict(record), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(path)

    def remove(self, record: Volume | Attachment | Machine) -> None:
        """Forget it."""
        (self._folder / type(record).__name__ / record.id).unlink(missing_ok=True)

    def image(self, id: str) -> Path:
        """The file that holds the volume's bytes."""
        return self._folder / f"{id}.img"

    def open_devices(self, id: str) -> list[Loop]:
        """Who has the volume open at this moment, as the kernel says."""
        return loops_on(self.image(id))

    def tell(self, event: str, **details: Any) -> None:
        """Add a line to the timeline."""
        line = json.dumps({"at": round(time.time(), 3), "event": event, **details})
        with (self._folder / "events").open("a") as log:
            log.write(line + "\n")

    def events(self) -> list[dict[str, Any]]:
        """The timeline: `at` in seconds since 1970, `event`, and its details."""
        try:
            return [json.loads(line) for line in (self._folder / "events").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def violations(self) -> list[dict[str, Any]]:
        """Every time that a disk was about to be open on two machines. A run with one of these has failed."""
        return [event for event in self.events() if event["event"] == "VIOLATION"]

    def fault(self, call: str) -> dict[str, Any]:
        """What is to go wrong with that controller call now: `delay_seconds`, `error` (a gRPC status name); {} if nothing."""
        try:
            faults: dict[str, dict[str, Any]] = json.loads((self._folder / "faults").read_text())
        except FileNotFoundError:
            return {}
        return faults.get(call, {})

    def inject(self, faults: dict[str, dict[str, Any]]) -> None:
        """Replace all faults: {"ControllerPublishVolume": {"delay_seconds": 3, "error": "UNAVAILABLE"}}; {} heals."""
        unfinished = self._folder / ".faults"
        unfinished.write_text(json.dumps(faults))
        unfinished.rename(self._folder / "faults")


def new_volume_id() -> str:
    """As EBS names its volumes."""
    return f"vol-{secrets.token_hex(9)[:17]}"
