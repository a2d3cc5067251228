"""What `automq adopt` tells whoever started it: an exit code and a JSON report, on stdout and in a file.

The file is meant for Kubernetes' termination message, of which the kubelet keeps 4096 bytes; the report on stdout is
whole.
"""

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

TERMINATION_MESSAGE_BYTES_MAX: Final = 4096


class AdoptOutcome(StrEnum):
    """How an adoption ended."""

    DRAINED = "drained"
    """Everything is in the bucket, every stream of the node is closed, its log is marked clean."""
    FAILED = "failed"
    """For another reason than those below; the same command may be tried again."""
    NOT_PROVEN_DEAD = "not proven dead"
    """No rescue granted this epoch, or a process still uses the log."""
    SUPERSEDED = "superseded"
    """A newer adopter, or the broker itself, has taken over."""
    FOREIGN = "foreign"
    """The log is another cluster's, another node's, or on another volume than the recorded one."""
    ROLLED_BACK = "rolled back"
    """The log is older than the one that the metadata knows: a restored snapshot."""
    DAMAGED = "damaged"
    """Acknowledged records in the log cannot be read."""


EXIT_CODES: Final[dict[AdoptOutcome, int]] = {
    AdoptOutcome.DRAINED: 0,
    AdoptOutcome.FAILED: 1,
    AdoptOutcome.NOT_PROVEN_DEAD: 3,
    AdoptOutcome.SUPERSEDED: 4,
    AdoptOutcome.FOREIGN: 5,
    AdoptOutcome.ROLLED_BACK: 6,
    AdoptOutcome.DAMAGED: 7,
}
"""2 is wrong usage, 70 a bug, as with every other command."""


class AdoptedStream(BaseModel):
    """One partition that was closed: [start_offset, end_offset) came out of the log, everything below was stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: str
    partition: int
    stream_id: int
    leader_epoch: int
    start_offset: int
    end_offset: int


class AdoptReport(BaseModel):
    """The end of one run of `automq adopt`. `seconds` is by stage: claim, scan, drain, close; in the order they came."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outcome: AdoptOutcome
    reason: str = ""
    node_id: int
    broker_epoch: int
    streams_closed: int = 0
    batches: int = 0
    bytes_uploaded: int = 0
    objects: int = 0
    seconds: dict[str, float] = {}
    streams: tuple[AdoptedStream, ...] = ()
    streams_unnamed: int = 0
    """Streams that are left out of `streams` because the report had to be short."""

    def within(self, size_max: int) -> str:
        """The report as JSON of at most `size_max` bytes: as many streams are named as fit, the others counted."""
        rows = [stream.model_dump_json() for stream in self.streams]
        bare = self.model_copy(update={"streams": (), "streams_unnamed": len(rows), "reason": self.reason[:1000]})
        room = size_max - len(bare.model_dump_json().encode())
        named = 0
        while named < len(rows) and room >= len(rows[named].encode()) + 1:
            room -= len(rows[named].encode()) + 1
            named += 1
        left = self.streams_unnamed + len(rows) - named
        return bare.model_copy(update={"streams": self.streams[:named], "streams_unnamed": left}).model_dump_json()


__all__ = ["EXIT_CODES", "TERMINATION_MESSAGE_BYTES_MAX", "AdoptOutcome", "AdoptReport", "AdoptedStream"]
