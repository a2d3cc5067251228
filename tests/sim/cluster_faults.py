"""What happens to many brokers: all that happens to one, machines and their volumes, the network between them."""

import asyncio
from collections.abc import Callable

from automq_broker.kernel.ids import NodeId, StreamId
from twins.memory_bucket import Faults

from sim.cluster_world import ClusterWorld
from sim.faults import FaultSchedule
from sim.machine import Machine
from sim.moves import order_drain, order_move, targets
from sim.signals import freeze, thaw
from sim.volume import Volume

_CLOCK_JUMP_MAX_MS = 25 * 60_000
"""Two clocks are never further apart than message.timestamp.after.max.ms."""

_LATE_MAX_S = 20.0
_MOVES_MAX = 12


class ClusterFaults(FaultSchedule):
    """A fault of disk, process or bucket meets one machine; one of the bucket now and then all."""

    clock_jump_max_ms = _CLOCK_JUMP_MAX_MS
    _world: ClusterWorld

    def __init__(self, world: ClusterWorld) -> None:
        super().__init__(world)  # type: ignore[arg-type]
        self._mistakes: list[asyncio.TimerHandle] = []

    def heal(self) -> None:
        """No fault of disk, bucket, network or machine is left, and no wrong volume is on its way."""
        super().heal()
        while self._mistakes:
            self._mistakes.pop().cancel()
        world = self._world
        world.network.cut.clear()
        world.network.faults = world.calm_network()
        for process in list(world.processes()):
            thaw(process)
        for machine in world.hosts:
            machine.repair()
            machine.find_volume()
            machine.bucket_faults.late_s = 0.0

    def kinds(self) -> list[Callable[[FaultSchedule], None]]:
        """Those of one broker, and those of many."""
        return [*super().kinds(), *_KINDS]

    def _buckets(self) -> list[Faults]:
        ways = self._world.ways_to_bucket()
        return ways if self._rng.random() < 0.5 else [self._rng.choice(ways)]

    def _controller(self) -> Machine:
        """The machine of whoever holds the seat, if it is known."""
        head = self._world.truth.head
        return self._host() if head is None else self._world.machine(head.holder.node_id)

    def _some(self) -> Machine:
        """Any machine, the controller's more often than others."""
        return self._controller() if self._rng.random() < 0.3 else self._host()

    def _others(self, machine: Machine) -> list[str]:
        return [each.place for each in self._world.hosts if each is not machine]

    def _isolate(self) -> None:
        machine = self._some()
        self._world.network.isolate(machine.place, self._others(machine))
        self._note(f"node {machine.node_id} is cut off from the others")

    def _isolate_one_way(self) -> None:
        machine, is_to = self._some(), self._rng.random() < 0.5
        self._world.network.isolate(machine.place, self._others(machine), to=is_to, back=not is_to)
        self._note(f"node {machine.node_id} is cut off one way, {'to' if is_to else 'from'} the others")

    def _cut_pair(self) -> None:
        one, other = self._rng.sample(list(self._world.hosts), 2)
        self._world.network.isolate(one.place, [other.place])
        self._note(f"nodes {one.node_id} and {other.node_id} do not hear each other")

    def _network_is_bad(self) -> None:
        faults, rate = self._world.network.faults, min(0.3, self._rate())
        name = self._rng.choice(("drop", "reset", "duplicate", "slow"))
        setattr(faults, name, rate)
        self._note(f"network {name} {rate:.3f}")

    def _freeze(self) -> None:
        machine = self._some()
        if machine.process is not None:
            freeze(machine.process)
            self._note(f"node {machine.node_id} is stopped (SIGSTOP)")

    def _zombie(self) -> None:
        """It is not heard for a while; the platform gives its volume away, and then it is back."""
        machine = self._some()
        if machine.process is None:
            return
        if self._rng.random() < 0.5:
            self._freeze_one(machine)
        else:
            self._world.network.isolate(machine.place, self._others(machine))
            self._note(f"node {machine.node_id} is cut off, and will lose its volume")
        self._later(machine.take_volume_away)

    def _freeze_one(self, machine: Machine) -> None:
        if machine.process is not None:
            freeze(machine.process)
            self._note(f"node {machine.node_id} is stopped (SIGSTOP), and will lose its volume")

    def _lose_machine(self) -> None:
        machine = self._some()
        self._note(f"machine of node {machine.node_id} is gone")
        machine.lose()

    def _detach(self) -> None:
        """Under load."""
        self._later(self._some().take_volume_away)

    def _kill_controller(self) -> None:
        machine = self._controller()
        self._note(f"kill of the controller, node {machine.node_id}, soon")
        self._later(machine.kill)

    def _kill_adopter(self) -> None:
        for pod in self._world.adopters.values():
            if pod.process is not None and not pod.process.is_dead:
                pod.process.fate.dies_at = pod.process.fate.count + self._rng.randint(1, 10)
                self._note(f"adopter {pod.uid} dies at effect {pod.process.fate.dies_at}")

    def _late_words(self) -> None:
        """What it says to the controller is held back, it ends, and its words arrive when its epoch is gone."""
        controller = self._controller()
        machine = self._rng.choice([each for each in self._world.hosts if each is not controller])
        node = self._world.truth.node(machine.node_id)
        if machine.process is None or node is None or machine.place in self._world.network.late:
            return
        self._note(f"words of node {machine.node_id} are held back until it is gone")
        words = self._world.network.late[machine.place] = []
        self._later(machine.kill)
        self._world.start(self._deliver_late(machine, node.broker_epoch, words))

    def _move_while_slow(self) -> None:
        """What closes there has appends in flight, and the longer the slower; then everything comes back for more."""
        machine, slow_s = self._host(), self._rng.choice((0.1, 0.5, 2.0))
        machine.disk_faults.write_slow, machine.disk_faults.slow_s = 0.9, slow_s
        machine.bucket_faults.late_s = 0.0 if self._world.cluster.has_disks else slow_s / 4
        self._note(f"log of node {machine.node_id} is slow, up to {slow_s} s, and partitions go and come")
        self._world.start(self._go_and_come(NodeId(machine.node_id)))

    async def _go_and_come(self, node_id: NodeId) -> None:
        for _ in range(self._rng.randint(3, _MOVES_MAX)):
            await asyncio.sleep(self._rng.uniform(0.1, 1.5))
            state = self._world.truth.state
            there = [StreamId(each.stream_id) for each in state.open_streams_of(node_id)]
            able = targets(state)
            others = [each for each in able if each != node_id]
            if there and others:
                await order_move(self._world, there, self._rng.choice(others))
            elif node_id in able:
                await order_move(self._world, list(state.streams), node_id)

    def _drain(self) -> None:
        """Its partitions leave and nothing comes, until that is taken back."""
        node_id = self._host().node_id
        self._note(f"node {node_id} is drained")
        self._world.start(self._drained(node_id, self._rng.uniform(1.0, self._options.phase_s[1])))

    async def _drained(self, node_id: int, length_s: float) -> None:
        await order_drain(self._world, node_id, is_cancelled=False)
        await asyncio.sleep(length_s)
        while not await order_drain(self._world, node_id, is_cancelled=True):
            await asyncio.sleep(0.5)

    def _roll(self) -> None:
        """Every broker is asked to stop, one soon after the other."""
        self._note("rolling restart")
        self._stops.append(asyncio.get_running_loop().create_task(self._rolled(self._rng.uniform(0.1, 4.0))))

    async def _rolled(self, pause_s: float) -> None:
        for machine in self._world.hosts:
            await machine.stop()
            await asyncio.sleep(pause_s)

    def _wrong_volume(self) -> None:
        """Re-created and empty, restored from a snapshot, or rolled back to before the present life of its broker."""
        machine = self._host()
        volume, process, node = machine.volume, machine.process, self._world.truth.node(machine.node_id)
        if (
            not isinstance(volume, Volume)
            or process is None
            or node is None
            or self._world.truth.logs.get(machine.node_id) is not volume
        ):
            return
        kind = self._rng.choice(("an empty volume", "a snapshot", "its volume of before"))
        if kind == "its volume of before":
            if node.incarnation != process.incarnation or not node.is_wal_confirmed:
                return
            other = volume.another(volume.handle, volume.image)
        else:
            handle = f"{volume.handle}-{self._rng.getrandbits(16):04x}"
            other = volume.another(handle, volume.platter if kind == "a snapshot" else bytes(len(volume.platter)))
        self._note(f"node {machine.node_id} will be given {kind}")
        self._mistakes.append(self._later(lambda: self._mistake(machine, other)))

    def _mistake(self, machine: Machine, other: Volume) -> None:
        machine.kill()
        machine.mistake_volume(other)

    async def _deliver_late(self, machine: Machine, epoch: int, words: list[tuple[str, bytes]]) -> None:
        process = machine.process
        deadline = self._world.now() + _LATE_MAX_S
        while process is not None and not process.is_dead and self._world.now() < deadline:
            await asyncio.sleep(0.1)
        self._world.network.late.pop(machine.place, None)
        while self._world.now() < deadline:
            node = self._world.truth.node(machine.node_id)
            if node is not None and node.broker_epoch > epoch:
                break
            await asyncio.sleep(0.02)
        self._note(f"{len(words)} late words of node {machine.node_id} arrive")
        await self._world.network.deliver_late(words)

    def _later(self, act: Callable[[], None]) -> asyncio.TimerHandle:
        delay_s = self._rng.uniform(0.0, self._options.phase_s[0])
        return asyncio.get_running_loop().call_later(delay_s, act)


_KINDS: list[Callable[..., None]] = [
    ClusterFaults._isolate,
    ClusterFaults._isolate_one_way,
    ClusterFaults._cut_pair,
    *[ClusterFaults._network_is_bad] * 2,
    *[ClusterFaults._freeze] * 2,
    *[ClusterFaults._zombie] * 3,
    *[ClusterFaults._lose_machine] * 2,
    ClusterFaults._detach,
    *[ClusterFaults._kill_controller] * 2,
    ClusterFaults._kill_adopter,
    *[ClusterFaults._late_words] * 5,
    *[ClusterFaults._move_while_slow] * 4,
    *[ClusterFaults._wrong_volume] * 3,
    *[ClusterFaults._drain] * 2,
    *[ClusterFaults._roll] * 2,
    FaultSchedule._stop,
]

__all__ = ["ClusterFaults"]
