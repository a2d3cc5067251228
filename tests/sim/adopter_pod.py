"""An adopter as the platform runs it: created beside a survivor, waiting for the volume, running, ended, deleted."""

import asyncio
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from automq_operator.steps import CreateAdopter
from automq_operator.world import Adopter, AdopterState
from twins.engine_world import Fate

from sim.machine import Machine
from sim.member import AdopterProcess
from sim.signals import kill

if TYPE_CHECKING:
    from sim.cluster_world import ClusterWorld


class AdopterPod:
    """An adopter from its creation to its deletion: it waits for the volume, then its process runs."""

    def __init__(self, world: "ClusterWorld", step: CreateAdopter, uid: str) -> None:
        self._world = world
        self._step = step
        self._target = world.machine(step.key.node_id)
        self._beside = world.machine(step.beside)
        self._rng = Random(f"adopter {uid} {world.options.seed}")
        self.uid = uid
        self.process: AdopterProcess | None = None
        self.seen = Adopter(
            key=step.key,
            uid=uid,
            granted_epoch=step.granted_epoch,
            beside=step.beside,
            host=self._beside.place,
            state=AdopterState.PENDING,
            since=world.now(),
            attempt=step.attempt,
            is_placed=True,
        )
        self._is_deleted = False

    async def run(self) -> None:
        """To its end."""
        while self._target.volume.holder is not None or not self._beside.is_ready:
            if self._is_deleted:
                return
            await asyncio.sleep(0.1)
        if self._is_deleted:
            return
        self._become(AdopterState.RUNNING)
        self.process = process = self._boot()
        failure = await process.live()
        self._world.trace.note("process", f"adopter {self.uid} ended: {failure!r}")
        process.device.volume.ended(process.device, self._rng.getrandbits(32))
        self._target.volume_is_free()
        self._world.checker.adopter_ended(process, failure)
        self._world.adoptions += process.report is not None
        self._become(AdopterState.SUCCEEDED if process.report is not None else AdopterState.FAILED)
        self._world.operator.wake.set()

    def delete(self) -> None:
        """Killed, if it runs."""
        self._is_deleted = True
        if self.process is not None:
            kill(self.process)

    def is_beside(self, machine: Machine) -> bool:
        """Whether it runs on this machine."""
        return self._beside is machine

    def _become(self, state: AdopterState) -> None:
        self.seen = replace(self.seen, state=state, since=self._world.now())

    def _boot(self) -> AdopterProcess:
        world, fate = self._world, Fate()
        bucket = world.bucket(self._beside, fate, self.uid, self._rng.getrandbits(32))
        world.trace.note("process", f"adopter {self.uid} of node {self._target.node_id} starts")
        return AdopterProcess(
            node_id=self._target.node_id,
            granted_epoch=self._step.granted_epoch,
            place=self._beside.place,
            endpoint=f"{self._beside.place}:{self.uid}",
            network=world.network,
            options=world.options,
            settings=world.settings,
            device=self._target.volume.attach(self.uid, bucket, self._rng.getrandbits(32)),
            bucket=bucket,
            clock=self._beside.clock,
            seed=f"adopter process {self.uid} {world.options.seed}",
        )


__all__ = ["AdopterPod"]
