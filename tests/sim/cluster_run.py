"""One seed of many brokers: as one of a single broker, with moves ordered all the time and the operator at work."""

import asyncio
from functools import partial

from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.commands import AssignStreams
from automq_broker.meta.rows import NodeStatus

from sim.clients import TRY_AGAIN, Client
from sim.cluster_checker import ClusterChecker
from sim.cluster_faults import ClusterFaults
from sim.cluster_world import ClusterWorld
from sim.options import Options
from sim.process import Gone
from sim.run import Run
from sim.trace import Trace

_CALL_TIMEOUT_S = 20.0


class Mover(Client):
    """Orders moves: now one partition, now all of one broker."""

    async def run(self) -> None:
        """Until the scene ends."""
        world = self.scene.world
        while not self.scene.is_ending:
            await asyncio.sleep(self.rng.expovariate(1 / world.options.cluster.move_pause_s))
            await self.round()

    async def round(self) -> None:
        """One order; whether it is carried out is nobody's promise."""
        process = await self.scene.world.serving()
        state = process.control.state
        targets = [node.node_id for node in state.nodes.values() if node.status is NodeStatus.ACTIVE]
        streams = [row.stream_id for topic in state.topics() for row in topic.partitions]
        if not targets or not streams:
            return
        chosen = streams if self.rng.random() < 0.1 else self.rng.sample(streams, 1)
        order = AssignStreams(stream_ids=tuple(chosen), node_id=NodeId(self.rng.choice(sorted(targets))))
        self.note(f"moves {list(chosen)} to {order.node_id}")
        try:
            await process.call(partial(process.control.submit, order), _CALL_TIMEOUT_S)
        except (Gone, TimeoutError, ClientFault, *TRY_AGAIN):
            return


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
        truth, operator = self._world.truth, self._world.operator
        return super()._counts() | {
            "moves": truth.moves,
            "rescues": truth.rescues,
            "adoptions": operator.adoptions,
            "orderly stops": self._trace.counts["stopped"],
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
