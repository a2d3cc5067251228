"""What every client needs: which topics exist, a way to a broker, and how errors are judged."""

import asyncio
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import ClientFault, NotMine, Retry
from automq_broker.wire.codes import ErrorCode

from sim.history import History, Key, Violation
from sim.process import BrokerProcess
from sim.world import World

EXPECTED_FAULTS = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)
"""What a client may be told at any time while topics come and go and rings fill."""


@dataclass(slots=True, eq=False)
class TopicModel:
    """A topic that somebody asked for. `is_live` after its creation was confirmed, until its deletion is asked for."""

    topic_id: UUID
    name: str
    partitions: int
    is_live: bool = False

    def all_keys(self) -> list[Key]:
        """Its partitions."""
        return [(self.topic_id, index) for index in range(self.partitions)]


@dataclass(slots=True)
class Scene:
    """The world as clients share it. `is_ending` asks every client to come to rest."""

    world: World
    history: History
    topics: list[TopicModel] = field(default_factory=list)
    is_ending: bool = False
    is_healed: bool = False

    def live_keys(self) -> list[Key]:
        """Partitions of topics that exist for certain."""
        return [key for topic in self.topics if topic.is_live for key in topic.all_keys()]

    def check_fault(self, what: str, key: Key, fault: ClientFault) -> None:
        """An error is legal only if it says what can be the case."""
        if fault.code in EXPECTED_FAULTS:
            return
        raise Violation(f"{what} of topic {key[0].int}-{key[1]} was refused: {ErrorCode(fault.code).name} {fault}")


class Client:
    """One client with chances of its own; `run` ends when the scene ends."""

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.name = name
        self.rng = Random(f"{name} {scene.world.options.seed}")

    async def run(self) -> None:
        """Rounds with pauses."""
        while not self.scene.is_ending:
            await self.round()
            await asyncio.sleep(self.rng.expovariate(1 / self.scene.world.options.work.pause_s))

    async def round(self) -> None:
        """One piece of work."""
        raise NotImplementedError

    def choose_key(self) -> Key | None:
        """A live partition, if there is one."""
        keys = self.scene.live_keys()
        return self.rng.choice(keys) if keys else None

    def note(self, text: str) -> None:
        """Into the trace."""
        self.scene.world.trace.note("client", f"{self.name} {text}")


def find(process: BrokerProcess, key: Key) -> Partition:
    """The partition in a serving process; raises ClientFault."""
    return process.running.engine.partition_by_id(*key)


TRY_AGAIN = (Retry, NotMine)

__all__ = ["TRY_AGAIN", "Client", "Scene", "TopicModel", "find"]
