"""The platform of `automq up`: the world is processes and what brokers say; steps are signals, starts and admin calls."""

import asyncio
import signal
import time
from typing import assert_never

from automq_broker.contract import admin
from pydantic import TypeAdapter, ValidationError

from automq_operator import broker_api
from automq_operator.broker_api import BrokerApi, Figures, NoAnswerError, RefusedError
from automq_operator.loop import StepFailedError
from automq_operator.platforms.local.fleet import HOST, Fleet
from automq_operator.platforms.local.layout import Layout, write_whole
from automq_operator.steps import (
    ApplyObject,
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    DeleteObject,
    DeleteVolume,
    DrainBroker,
    GrantRescue,
    LetGo,
    ReleaseVolume,
    ScaleTo,
    SetConfigs,
    StartBroker,
    Step,
    StopBroker,
    UncordonBroker,
    UntaintHost,
)
from automq_operator.world import Host, Memory, Slot, Volume, World

_MEMORY = TypeAdapter(Memory)


class LocalPlatform:
    """Satisfies loop.Platform. One per `automq up`."""

    def __init__(self, layout: Layout, fleet: Fleet, api: BrokerApi) -> None:
        self._layout = layout
        self._fleet = fleet
        self._api = api
        self._memory = _read_memory(layout)
        self.figures: dict[int, Figures] = {}

    async def observe(self) -> World:
        """See loop.Platform."""
        instances = await self._fleet.look(time.time())
        answering = self._fleet.answering
        metadata, figures = await asyncio.gather(
            self._api.metadata(answering), asyncio.gather(*map(self._api.figures, answering))
        )
        self.figures = {node_id: each for node_id, each in zip(answering, figures, strict=True) if each is not None}
        holders = {each.key.node_id: each.uid for each in self._fleet.seen_adopters() if each.state == "running"}
        holders |= {node_id: self._fleet.brokers[node_id].uid for node_id in self._fleet.alive()}
        return World(
            slots=tuple(Slot(node_id=node_id) for node_id in self._layout.ports),
            is_metadata_known=metadata is not None,
            controller=metadata.cluster.controller.node_id if metadata else None,
            brokers=tuple(map(broker_api.as_seen, metadata.brokers)) if metadata else (),
            instances=tuple(instances),
            volumes=tuple(
                Volume(name=self._layout.volume(node_id), node_id=node_id, holder=holders.get(node_id))
                for node_id in self._layout.ports
            ),
            hosts=(Host(name=HOST),),
            adopters=tuple(self._fleet.seen_adopters()),
            partitions=metadata.cluster.partitions if metadata else 0,
            partitions_moving=metadata.cluster.partitions_moving if metadata else 0,
            memory=self._memory,
        )

    async def remember(self, memory: Memory) -> None:
        """See loop.Platform; a file, replaced whole."""
        self._memory = memory
        text = _MEMORY.dump_json(memory, indent=1).decode()
        await asyncio.to_thread(write_whole, self._layout.memory_file, text)

    async def act(self, step: Step) -> None:
        """See loop.Platform."""
        try:
            await self._carry_out(step)
        except (NoAnswerError, RefusedError) as error:
            raise StepFailedError(str(error)) from error
        except BlockingIOError as error:
            raise StepFailedError("a process lives under its lock") from error
        except OSError as error:
            raise StepFailedError(f"{error.strerror or error}") from error

    async def _carry_out(self, step: Step) -> None:
        match step:
            case GrantRescue():
                await self._grant(step)
            case ReleaseVolume():
                # The kernel frees the lock of an ended process; there is nothing that could be done by force.
                raise StepFailedError("the lock of an ended process is free already")
            case CreateAdopter():
                await self._fleet.create_adopter(step)
            case DeleteAdopter():
                self._fleet.delete_adopter(step.uid)
            case ConfirmDrained():
                question = admin.AdoptDoneRequest(node_id=step.key.node_id, broker_epoch=step.granted_epoch)
                await self._api.change(self._fleet.answering, admin.ADOPT_DONE, admin.Done, question)
            case StartBroker():
                await self._fleet.start_broker(step.node_id)
            case DrainBroker() | UncordonBroker():
                is_cancelled = isinstance(step, UncordonBroker)
                request = admin.DrainRequest(node_id=step.node_id, is_cancelled=is_cancelled)
                await self._api.change(self._fleet.answering, admin.DRAIN, admin.Drained, request)
            case StopBroker():
                process = self._fleet.brokers.get(step.node_id)
                if process is not None and process.uid == step.uid:
                    process.signal(signal.SIGTERM)
            case ScaleTo() | SetConfigs():
                raise StepFailedError("a local cluster is as --brokers and --set say")
            case ApplyObject() | DeleteObject() | DeleteVolume() | UntaintHost() | LetGo():
                raise StepFailedError("a local cluster consists of files that nobody else changes")
            case _:
                assert_never(step)

    async def _grant(self, step: GrantRescue) -> None:
        """SAFETY: the process is looked at once more; the controller refuses any epoch but the dead one's."""
        node_id = step.key.node_id
        process = self._fleet.brokers.get(node_id)
        if process is not None and process.is_alive():
            raise StepFailedError(f"the process of broker {node_id} lives")
        question = admin.RescueRequest(node_id=node_id, broker_epoch=step.key.broker_epoch, rescue=step.key.rescue)
        await self._api.change(self._fleet.answering, admin.RESCUE, admin.RescueGranted, question)


def _read_memory(layout: Layout) -> Memory:
    """What was remembered; a file that is missing or not understood is no memory, which costs time alone."""
    try:
        return _MEMORY.validate_json(layout.memory_file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Memory()


__all__ = ["LocalPlatform"]
