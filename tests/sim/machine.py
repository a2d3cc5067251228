"""A machine of many: a clock, a log that outlives its processes, at most one broker, and what the platform says of it."""

from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from automq_broker.kernel.errors import AutomqError
from automq_broker.ports import WalWriteFailed
from automq_operator.world import Instance, InstanceState, Proof
from twins.engine_world import Fate
from twins.memory_bucket import Faults
from twins.memory_wal import WalFaults
from twins.virtual_time import LoopClock

from sim.bulk_log import BulkLog
from sim.member import Member
from sim.process import Gone
from sim.signals import kill
from sim.volume import Volume

if TYPE_CHECKING:
    from sim.cluster_world import ClusterWorld

_QUICK_END_S = 10.0


class Machine:
    """Where one node runs. `instance` is what the platform says of the process that runs or ran there last."""

    def __init__(self, world: "ClusterWorld", node_id: int) -> None:
        options, cluster = world.options, world.cluster
        self._rng = Random(f"machine {node_id} {options.seed}")
        self.node_id = node_id
        self.place = f"m{node_id}"
        self.clock = LoopClock()
        self.clock.offset_ms += self._rng.randint(-cluster.clock_offset_max_ms, cluster.clock_offset_max_ms)
        self.volume = _log_of(world, node_id)
        self.bucket_faults = Faults(latency_s=options.world.bucket_latency_s)
        self._own = self.volume
        self._next: Volume | BulkLog | None = None
        self.process: Member | None = None
        self.instance: Instance | None = None
        self.lives = 0
        self.is_ready = True
        self._world = world

    @property
    def disk_faults(self) -> WalFaults:
        """Of its own volume, wherever that is attached."""
        return self.volume.faults

    @property
    def clock_drift_ms(self) -> int:
        """How far the wall clock is off."""
        return self.clock.offset_ms - LoopClock().offset_ms

    def start(self) -> bool:
        """Run its broker, if the machine is there and the volume is free."""
        self.volume_is_free()
        if self.process is not None or not self.is_ready or self.volume.holder is not None:
            return False
        self.process = process = self._boot()
        self._world.start(self._watch(process, self.instance))
        return True

    async def stop(self) -> None:
        """Ask the process to stop in order; after the grace it is killed."""
        world, process = self._world, self.process
        if process is None or not process.is_serving:
            return
        world.trace.note("fault", f"node {self.node_id} is asked to stop")
        try:
            await process.call(process.stop, world.options.world.stop_grace_s)
            world.trace.note("stopped", f"node {self.node_id} stopped in order")
        except (Gone, TimeoutError) as why:
            world.trace.note("process", f"node {self.node_id} did not stop in order: {why!r}")
        except (AutomqError, WalWriteFailed) as failure:
            world.checker.process_ended(self, process, failure)
        self.kill()

    def kill(self) -> None:
        """Now."""
        if self.process is not None:
            kill(self.process)

    def lose(self) -> None:
        """The machine is gone with what ran on it; its volume stays attached to it until somebody takes it away."""
        self.is_ready = False
        self.kill()

    def repair(self) -> None:
        """A machine in its place: nothing runs there, and nothing is attached."""
        if not self.is_ready and self.process is None and self.instance and self.volume.holder == self.instance.uid:
            self.volume.release(self._rng.getrandbits(32))
        if not self.is_ready and self.instance and self.instance.proof is Proof.MACHINE_STOPPED:
            self.instance = replace(self.instance, proof=Proof.PROCESS_ENDED)
        self.is_ready = True

    def take_volume_away(self) -> None:
        """The platform detaches the volume from under a broker that nobody hears: that one lives on, and is nobody."""
        process, instance = self.process, self.instance
        if process is None or instance is None or not self.volume.is_held_by(instance.uid):
            return
        self.volume.release(self._rng.getrandbits(32))
        self._world.trace.note("fault", f"node {self.node_id} is given up, its process lives on")
        self._world.zombies.append(process)
        self._world.network.move(process.endpoint, f"zombie of {process.endpoint}")
        self._ended(instance, self.volume.proof_without)

    def mistake_volume(self, other: Volume) -> None:
        """The platform takes another volume for the node's own, from when that is free until `find_volume`."""
        self._next = other
        self.volume_is_free()

    def find_volume(self) -> None:
        """The node's own volume is there again, unless it started on the other one, rightly, since nothing was open."""
        self._next = None
        if self.volume is not self._own:
            self._next = self._own
            self.volume_is_free()

    def volume_is_free(self) -> None:
        """It may be: what is to be attached next takes its place."""
        if self._world.truth.logs.get(self.node_id) is self.volume:
            if self._next is self._own:
                self._next = None  # the node lives on this one, rightly: its volume of before does not come back
            self._own = self.volume
        if self._next is None or self.volume.holder is not None:
            return
        if self._next is not self._own or self.volume is not self._own:
            self.volume = self._next
            self._world.trace.note("fault", f"node {self.node_id} is given {self.volume.handle}")
        self._next = None

    def _boot(self) -> Member:
        self.lives += 1
        world, fate = self._world, Fate()
        uid = f"{self.node_id}.{self.lives}"
        bucket = world.bucket(self, fate, uid, self._rng.getrandbits(32))
        process = world.make_member(
            place=self.place,
            endpoint=f"{self.place}:{self.lives}",
            network=world.network,
            truth=world.truth,
            node_id=self.node_id,
            seed=f"process {uid} {world.options.seed}",
            options=world.options,
            settings=world.settings,
            device=self.volume.attach(uid, bucket, self._rng.getrandbits(32)),
            bucket=bucket,
            clock=self.clock,
        )
        before = self.instance.quick_ends if self.instance else 0
        self.instance = Instance(
            node_id=self.node_id,
            uid=uid,
            host=self.place,
            state=InstanceState.RUNNING,
            since=world.now(),
            quick_ends=before,
        )
        world.trace.note("process", f"node {self.node_id} life {self.lives} starts")
        return process

    async def _watch(self, process: Member, instance: Instance | None) -> None:
        failure = await process.live()
        world = self._world
        world.trace.note("process", f"node {instance.uid if instance else ''} ended: {failure!r}")
        world.network.leave(process.endpoint)
        world.balancer_ended(process)
        self.volume.ended(process.device, self._rng.getrandbits(32), stays_attached=not self.is_ready)
        self.volume_is_free()
        world.checker.process_ended(self, process, failure)
        if process in world.zombies:
            world.zombies.remove(process)
        if self.process is process and instance is not None:
            self._ended(instance, Proof.PROCESS_ENDED if self.is_ready else Proof.MACHINE_STOPPED)

    def _ended(self, instance: Instance, proof: Proof) -> None:
        self.process = None
        is_quick = self._world.now() - instance.since < _QUICK_END_S
        self.instance = replace(
            instance,
            state=InstanceState.ENDED,
            since=self._world.now(),
            proof=proof,
            quick_ends=instance.quick_ends + 1 if is_quick else 0,
        )
        self._world.operator.wake.set()


def _log_of(world: "ClusterWorld", node_id: int) -> Volume | BulkLog:
    options = world.options.world
    if world.cluster.has_disks:
        return Volume(
            f"volume-{node_id}", options.wal_bytes, options.disk_latency_s, partial(world.trace.note, "write")
        )
    return BulkLog(node_id, options.wal_bytes)


__all__ = ["Machine"]
