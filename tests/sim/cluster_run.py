"""One seed of many brokers: as one of a single broker, with moves ordered all the time and the operator at work."""

import asyncio

from sim.clients import Client
from sim.cluster_checker import ClusterChecker
from sim.cluster_faults import ClusterFaults
from sim.cluster_world import ClusterWorld
from sim.moves import order_move, targets
from sim.options import Options
from sim.run import Run
from sim.trace import Trace


class Mover(Client):
    """Orders moves: now one partition, now all of one broker."""

    async def run(self) -> None:
        """Until the scene ends."""
        world = self.scene.world
        while not self.scene.is_ending:
            await asyncio.sleep(self.rng.expovariate(1 / world.options.cluster.move_pause_s))
            await self.round()

    async def round(self) -> None:
        """One order, from what some broker knows."""
        state = (await self.scene.world.serving()).control.state
        able = targets(state)
        streams = [row.stream_id for topic in state.topics() for row in topic.partitions]
        if not able or not streams:
            return
        chosen = streams if self.rng.random() < 0.1 else self.rng.sample(streams, 1)
        target = self.rng.choice(able)
        self.note(f"moves {list(chosen)} to {target}")
        await order_move(self.scene.world, chosen, target)


class ClusterRun(Run):
    """Many brokers."""

    _world: ClusterWorld  # type: ignore[assignment]
    _checker: ClusterChecker

    def __init__(self, options: Options, trace: Trace) -> None:
        super().__init__(options, trace, ClusterWorld)

    def _make_checker(self) -> ClusterChecker:
        return ClusterChecker(self._history)

    def _make_schedule(self) -> ClusterFaults:
        return ClusterFaults(self._world)

    def _make_clients(self) -> list[Client]:
        return [*super()._make_clients(), Mover(self._scene, "mover")]

    def _counts(self) -> dict[str, int]:
        truth = self._world.truth
        return super()._counts() | {
            "moves": truth.moves,
            "rescues": truth.rescues,
            "adoptions": self._world.adoptions,
            "orderly stops": self._trace.counts["stopped"],
            "wrong volumes refused": self._checker.wrong_logs_refused,
            "moves for balance": self._world.balanced,
        }

    async def _restart(self) -> None:
        """Of one broker."""
        machine = self._rng.choice(list(self._world.hosts))
        if self._rng.random() < 0.5:
            machine.kill()
        else:
            await machine.stop()

    async def _garbage_goes(self) -> None:
        """The controller dies first, so that one sweeps that did not make the garbage."""
        head = self._world.truth.head
        assert head is not None
        self._world.machine(head.holder.node_id).kill()
        await super()._garbage_goes()


__all__ = ["ClusterRun"]
