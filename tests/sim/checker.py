"""Invariants that no client sees: metadata, bucket, caches, and why a process ended. Raises Violation."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_values import Role
from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import Bug, Refused
from automq_broker.lake.keys import DATA_PREFIX, DELTA_PREFIX, HEAD_KEY, SNAPSHOT_PREFIX, data_key, parse_data_key
from automq_broker.meta import head as heads
from automq_broker.meta.invariants import findings
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.meta.state import State
from automq_broker.ports import BucketDenied, NotFound, WalWriteFailed
from twins.memory_bucket import MemoryBucket, MemoryStore

from sim.history import History, Violation

if TYPE_CHECKING:
    from random import Random

    from sim.process import BrokerProcess
    from sim.world import Host


class Checker:
    """`broken` resolves with the first violation, from wherever it was noticed."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.broken: asyncio.Future[Violation] = asyncio.get_running_loop().create_future()
        self.looks = 0

    def fail(self, violation: Violation) -> None:
        """End the run."""
        if not self.broken.done():
            self.broken.set_result(violation)

    def process_ended(self, host: "Host", process: "BrokerProcess", failure: BaseException | None) -> None:
        """Only a failed write of the disk may end a process by itself."""
        if failure is None or (isinstance(failure, WalWriteFailed) and process.device.is_failed):
            return
        if isinstance(failure, Refused) and isinstance(failure.__cause__, BucketDenied):
            return  # a start says why it gives up
        shown = f"{type(failure).__name__}: {failure}"
        if isinstance(failure, BaseExceptionGroup):
            shown += f" {failure.exceptions!r}"
        violation = Violation(f"law 4: the process of node {host.node_id} ended by itself: {shown}")
        violation.__cause__ = failure
        self.fail(violation)

    def deletes(self, process: "BrokerProcess", keys: Sequence[str]) -> None:
        """I9: what is about to be deleted must not be referenced by the metadata that is confirmed."""
        state = process.control.state
        for key in keys:
            object_id = parse_data_key(key)
            if object_id is not None and object_id in state.objects:
                self.fail(Violation(f"I9: object {object_id} is live and its deletion was asked for"))

    def look(self, process: "BrokerProcess", store: MemoryStore) -> None:
        """A look at a serving process between two steps of the loop."""
        self.looks += 1
        state = process.control.state
        if found := findings(state):
            raise Violation(f"I7: {found[0]}")
        for object_id in state.objects:
            if data_key(object_id) not in store.objects:
                raise Violation(f"I9: object {object_id} is referenced and not in the bucket")
        self._look_at_memory(process)
        for partition in process.running.engine.open_partitions.by_stream.values():
            self._look_at_partition(state, partition)

    async def compare_with_store(self, process: "BrokerProcess", store: MemoryStore, rng: "Random") -> None:
        """I12: the state in memory is what the bucket says, if the bucket's head is the one last confirmed."""
        control = process.control
        data, seq = store.data(HEAD_KEY), control.statistics().seq
        head = heads.parse(data)
        if head.seq != seq or control.role is not Role.HOLDER:
            return
        mine = b"".join(encode_snapshot(control.state))
        bucket = PatientBucket(MemoryBucket(store), rng, process.control_knobs)
        try:
            loaded = await load_state(bucket, head, process.control_knobs)
        except NotFound:
            return  # the head moved on meanwhile
        if store.data(HEAD_KEY) == data and b"".join(encode_snapshot(loaded.state)) != mine:
            raise Violation(f"I12: the controller's state at {seq} is not what the bucket holds")

    def orphans(self, process: "BrokerProcess", store: MemoryStore) -> list[str]:
        """Keys that nothing refers to; those in flight are among them."""
        state = process.control.state
        head = heads.parse(store.data(HEAD_KEY))
        known = {data_key(object_id) for object_id in (*state.objects, *state.deleting)}
        found = [key for key in store.keys(DATA_PREFIX) if key not in known]
        meta = (*store.keys(DELTA_PREFIX), *store.keys(SNAPSHOT_PREFIX))
        return found + [key for key in meta if not head.references(key)]

    def _look_at_memory(self, process: "BrokerProcess") -> None:
        running = process.running
        try:
            running.cache.check()
            running.blocks.check()
        except Bug as bug:
            raise Violation(f"I14: {bug}") from bug

    def _look_at_partition(self, state: State, partition: Partition) -> None:
        try:
            partition.log.check()
        except Bug as bug:
            raise Violation(f"I3: {bug}") from bug
        stream = state.stream(partition.stream_id)
        if stream is not None and stream.committed_end > partition.log.high_watermark:
            raise Violation(
                f"I7: stream {partition.stream_id} is committed up to {stream.committed_end}, "
                f"its high watermark is {partition.log.high_watermark}"
            )


__all__ = ["Checker"]
