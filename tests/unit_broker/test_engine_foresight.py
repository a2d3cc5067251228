"""A start on the wrong volume is refused at once, also where this very node was the controller that would refuse it."""

import asyncio
import random
import uuid

import pytest
from automq_broker.engine.foresight import foresee_refusal
from automq_broker.kernel.errors import Refused
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import CreateTopic, RegisterNode
from twins.engine_world import Life, World
from twins.memory_bucket import MemoryBucket
from twins.virtual_time import run_virtual

SESSION_S = 9.0


async def served(life: Life) -> uuid.UUID:
    """One open partition; the uuid of the volume."""
    await life.start()
    await life.control.submit(CreateTopic(name="orders", topic_id=uuid.UUID(int=1), partitions=1))
    while not life.running.engine.open_partitions.by_stream:
        await asyncio.sleep(0.01)
    return life.running.identity.volume_uuid


def start_of(node_id: int, volume: uuid.UUID, *, accept_wal_loss: bool = False, epoch: int = 0) -> RegisterNode:
    return RegisterNode(
        node_id=NodeId(node_id),
        incarnation=uuid.UUID(int=9),
        volume_uuid=volume,
        volume_handle="other",
        wal_epoch_found=BrokerEpoch(epoch),
        accept_wal_loss=accept_wal_loss,
    )


def foresee(world: World, command: RegisterNode) -> None:
    """It takes no part of a session."""

    async def scenario() -> None:
        async with asyncio.timeout(SESSION_S / 9):
            await foresee_refusal(MemoryBucket(world.store), command, random.Random(1))

    run_virtual(scenario())


@pytest.fixture
def crashed() -> tuple[World, uuid.UUID]:
    async def scenario() -> tuple[World, uuid.UUID]:
        world = World()
        async with world.life() as life:
            return world, await served(life)

    return run_virtual(scenario())


def test_a_lost_volume_is_refused_without_waiting_for_the_own_session(crashed: tuple[World, uuid.UUID]) -> None:
    with pytest.raises(Refused, match="--accept-wal-loss: orders-0"):
        foresee(crashed[0], start_of(1, uuid.UUID(int=7)))


def test_who_accepts_the_loss_has_the_right_volume_or_is_another_node_goes_on(crashed: tuple[World, uuid.UUID]) -> None:
    world, volume = crashed
    foresee(world, start_of(1, uuid.UUID(int=7), accept_wal_loss=True))
    foresee(world, start_of(1, volume, epoch=1))
    foresee(world, start_of(2, uuid.UUID(int=7)))
    foresee(World(), start_of(1, volume))


def test_nothing_is_changed_by_looking(crashed: tuple[World, uuid.UUID]) -> None:
    world, _ = crashed
    before = {key: world.store.data(key) for key in world.store.objects}
    foresee(world, start_of(1, uuid.UUID(int=7), accept_wal_loss=True))
    assert {key: world.store.data(key) for key in world.store.objects} == before
