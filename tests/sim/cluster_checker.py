"""Invariants of many brokers that no client sees, judged by what was agreed on, not by what one of them believes."""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from automq_broker.engine.adopt import NotAdoptable
from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.kernel.errors import Fenced, Refused
from automq_broker.lake.keys import DATA_PREFIX, DELTA_PREFIX, HEAD_KEY, SNAPSHOT_PREFIX, data_key, parse_data_key
from automq_broker.meta import head as heads
from automq_broker.meta.invariants import findings
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.ports import BucketDenied, NotFound, WalWriteFailed
from twins.memory_bucket import MemoryBucket, MemoryStore

from sim.bulk_log import AttachedBulks
from sim.checker import Checker
from sim.history import History, Violation
from sim.truth import Truth

if TYPE_CHECKING:
    from sim.member import AdopterProcess, Member


class ClusterChecker(Checker):
    """`truth` is there from the world's beginning on."""

    truth: Truth

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.wrong_logs_refused = 0
        self._findings_at = -1

    def failed(self, error: BaseException) -> None:
        """The world itself broke, or met a violation."""
        if not isinstance(error, Violation):
            violation = Violation(f"the simulator failed: {error!r}")
            violation.__cause__ = error
            error = violation
        self.fail(error)

    def process_ended(self, host: Any, process: "Member", failure: BaseException | None) -> None:
        """A failed write, a volume that was taken away, or an epoch that is gone may end a process; nothing else."""
        if process.device.is_pulled or (isinstance(failure, Fenced) and self._is_overtaken(process)):
            return
        if isinstance(failure, Refused) and self._has_wrong_log(process):
            self.wrong_logs_refused += 1
            return
        if isinstance(failure, Refused) and self._looked_too_early(process):
            return
        super().process_ended(host, process, failure)

    def adopter_ended(self, process: "AdopterProcess", failure: BaseException | None) -> None:
        """It may find that somebody else was faster, or that the log is none of its node's."""
        report, log = process.report, process.device.volume
        if report is not None and report.streams and self.truth.logs.get(report.node_id) is not log:
            self.fail(Violation(f"5a.4: an adopter of node {report.node_id} closed streams by another log than theirs"))
        is_failed = isinstance(failure, WalWriteFailed) and process.device.is_failed
        is_denied = isinstance(failure, Refused) and isinstance(failure.__cause__, BucketDenied)
        if (
            is_denied
            or failure is None
            or process.device.is_pulled
            or is_failed
            or isinstance(failure, NotAdoptable | Fenced)
        ):
            return
        violation = Violation(f"law 4: an adopter ended by itself: {type(failure).__name__}: {failure}")
        violation.__cause__ = failure
        self.fail(violation)

    def deleted(self, keys: Sequence[str]) -> None:
        """I9: what is about to be deleted must not be referenced."""
        for key in keys:
            object_id = parse_data_key(key)
            if object_id is not None and object_id in self.truth.state.objects:
                self.fail(Violation(f"I9: object {object_id} is live and its deletion was asked for"))
            if self.truth.head is not None and self.truth.head.references(key):
                self.fail(Violation(f"I9: {key} is needed to load the metadata and its deletion was asked for"))

    def look(self, process: "Member", store: MemoryStore) -> None:
        """A look at a serving process between two steps of the loop."""
        self.looks += 1
        self._look_at_truth(store)
        self._look_at_memory(process)
        self._look_at_copy(process)
        for partition in process.running.engine.open_partitions.by_stream.values():
            head = self.truth.state.stream_head(partition.stream_id)
            if head is not None and head.owner == process.node_id and head.epoch == partition.stream_epoch:
                self._look_at_partition(self.truth.state, partition)

    async def compare_with_store(self, process: "Member", store: MemoryStore, rng: Random) -> None:
        """I12: what a new controller would load is what was agreed on."""
        data, seq = store.data(HEAD_KEY), self.truth.seq
        bucket = PatientBucket(MemoryBucket(store), rng, process.control_knobs)
        try:
            loaded = await load_state(bucket, heads.parse(data), process.control_knobs)
        except NotFound:
            return  # the head moved on meanwhile
        if seq == self.truth.seq and b"".join(encode_snapshot(loaded.state)) != self._snapshot():
            raise Violation(f"I12: the metadata in the bucket at {seq} are not what was committed")

    def orphans(self, process: "Member", store: MemoryStore) -> list[str]:
        """Keys that nothing refers to; those in flight are among them."""
        state, head = self.truth.state, heads.parse(store.data(HEAD_KEY))
        known = {data_key(object_id) for object_id in (*state.objects, *state.deleting)}
        found = [key for key in store.keys(DATA_PREFIX) if key not in known]
        meta = (*store.keys(DELTA_PREFIX), *store.keys(SNAPSHOT_PREFIX))
        return found + [key for key in meta if not head.references(key)]

    def _look_at_truth(self, store: MemoryStore) -> None:
        if self._findings_at == self.truth.seq:
            return
        self._findings_at = self.truth.seq
        state = self.truth.state
        if found := findings(state):
            raise Violation(f"I7: {found[0]}")
        for object_id in state.objects:
            if data_key(object_id) not in store.objects:
                raise Violation(f"I9: object {object_id} is referenced and not in the bucket")

    def _look_at_copy(self, process: "Member") -> None:
        """I12: whoever says that it has everything has what was agreed on."""
        control = process.control
        if self.looks % 4 or control.seq != self.truth.seq:
            return
        if b"".join(encode_snapshot(control.state)) != self._snapshot():
            raise Violation(f"I12: node {process.node_id} has another state at {control.seq} than was committed")

    def _snapshot(self) -> bytes:
        return b"".join(encode_snapshot(self.truth.state))

    def _looked_too_early(self, process: "Member") -> bool:
        """A log in the bucket may be taken between a look at it and the registration, which then tells of an old epoch."""
        node = self.truth.node(process.node_id)
        is_free_for_all = isinstance(process.device, AttachedBulks)
        return is_free_for_all and node is not None and node.broker_epoch != process.epoch_before

    def _has_wrong_log(self, process: "Member") -> bool:
        return self.truth.logs.get(process.node_id) is not process.device.volume

    def _is_overtaken(self, process: "Member") -> bool:
        node = self.truth.node(process.node_id)
        if node is None or node.incarnation != process.incarnation:
            return True
        return node.broker_epoch != node.incarnation_epoch


__all__ = ["ClusterChecker"]
