"""A cluster whose brokers carry made-up load: owners that open and close as they are told, and tell what flows."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from automq_broker.cluster.balance import Aim, Goal, Rules
from automq_broker.cluster.sessions import Load
from automq_broker.engine.balancing import Balancer, BalancerKnobs
from automq_broker.engine.decisions import Decisions
from automq_broker.meta.commands import CloseStream, CreateTopic, OpenStream
from twins.cluster_world import ClusterWorld, Member, outcome
from twins.engine_world import Workers

MIB = 1 << 20
WAL_BYTES = 1 << 30
RULES = Rules(
    aims=(
        Aim(goal=Goal.NETWORK_IN, floor=MIB),
        Aim(goal=Goal.NETWORK_OUT, floor=MIB),
        Aim(goal=Goal.LEADERS, slack=1.0),
    )
)


@dataclass(slots=True)
class Owner:
    """One broker: its process, its balancer, and what it was asked for."""

    member: Member
    balancer: Balancer
    decisions: Decisions
    wal_used_bytes: int = 0
    told_at: float = 0.0
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)


class BalanceWorld:
    """`rates` is bytes per second (in, out) by stream, whoever has it open; `moves` counts opens by stream."""

    def __init__(self, seed: int = 0, knobs: BalancerKnobs | None = None) -> None:
        self.cluster = ClusterWorld(seed)
        self.knobs = knobs if knobs is not None else BalancerKnobs(is_enabled=True, rules=RULES)
        self.owners: dict[int, Owner] = {}
        self.rates: dict[int, tuple[float, float]] = {}
        self.opens: Counter[int] = Counter()

    async def add(self, node_id: int) -> Owner:
        """A broker joins."""
        member = await self.cluster.joined(node_id)
        decisions = Decisions(self.cluster.clock)
        balancer = Balancer(member.node, decisions, self.cluster.clock, Workers(Random(node_id)), lambda: self.knobs)
        owner = Owner(member, balancer, decisions)
        self.owners[node_id] = owner
        owner.told_at = self.cluster.clock.monotonic()
        member.take_load = lambda: self._load_of(owner)
        owner.tasks = [asyncio.ensure_future(balancer.run()), asyncio.ensure_future(self._own(member))]
        return owner

    def kill(self, node_id: int) -> None:
        """A process is gone."""
        owner = self.owners.pop(node_id)
        for task in owner.tasks:
            task.cancel()
        self.cluster.kill(owner.member)

    async def topic(self, name: str, rates_mib: list[float], owner: int, *, out_mib: float = 0.0) -> list[int]:
        """A topic with one partition per rate, all of them at `owner`; its streams when they are open."""
        node = self.cluster.members[0].node
        topic_id = UUID(int=sum(name.encode()) + 1000 * len(name))
        count = len(rates_mib)
        creation = CreateTopic(name=name, topic_id=topic_id, partitions=count, owners=(owner,) * count)
        streams = [row.stream_id for row in (await node.submit(creation)).topic.partitions]
        self.rates |= {each: (rate * MIB, out_mib * MIB) for each, rate in zip(streams, rates_mib, strict=True)}
        async with asyncio.timeout(30):
            while any(self.owner_of(each) != owner for each in streams):
                await asyncio.sleep(0.1)
        self.opens.clear()
        return streams

    @property
    def holder(self) -> Owner:
        """The broker that holds the controller's seat."""
        (found,) = [owner for owner in self.owners.values() if owner.member.node.is_holder]
        return found

    def owner_of(self, stream_id: int) -> int:
        """Who has a stream open; -1 while nobody has."""
        head = self.cluster.members[0].node.state.stream_head(stream_id)
        return head.owner if head is not None and head.is_open else -1

    def load_mib(self) -> dict[int, float]:
        """MiB/s in of every broker, as it truly is."""
        loads = dict.fromkeys(self.owners, 0.0)
        for stream_id, (bytes_in, _) in self.rates.items():
            if (owner := self.owner_of(stream_id)) in loads:
                loads[owner] += bytes_in / MIB
        return loads

    def is_even(self) -> bool:
        """Within 10 % of the average, everywhere."""
        loads = self.load_mib().values()
        average = sum(loads) / len(loads)
        return all(abs(load - average) <= 0.1 * average for load in loads)

    async def until_even(self, timeout_s: float) -> float:
        """How long it took."""
        begun = self.cluster.clock.monotonic()
        async with asyncio.timeout(timeout_s):
            while not self.is_even():
                await asyncio.sleep(0.5)
        return self.cluster.clock.monotonic() - begun

    def reasons(self, node_id: int) -> list[tuple[str, str]]:
        """(about, why) of everything that a broker's balancer decided."""
        return [(each.subject, each.reason) for each in self.owners[node_id].decisions.newest_first()]

    def _load_of(self, owner: Owner) -> Load:
        now = self.cluster.clock.monotonic()
        passed_s, owner.told_at = now - owner.told_at, now
        node_id = owner.member.node_id
        streams = {
            each: (round(bytes_in * passed_s), round(bytes_out * passed_s))
            for each, (bytes_in, bytes_out) in self.rates.items()
            if self.owner_of(each) == node_id
        }
        return Load(
            interval_ms=round(passed_s * 1000),
            bytes_in=sum(moved[0] for moved in streams.values()),
            bytes_out=sum(moved[1] for moved in streams.values()),
            streams=streams,
            wal_used_bytes=owner.wal_used_bytes,
            wal_capacity_bytes=WAL_BYTES,
        )

    async def _own(self, member: Member) -> None:
        """Open what is assigned here, close what is assigned elsewhere."""
        node_id, node = member.node_id, member.node
        while True:
            await asyncio.sleep(0.2)
            for stream in list(node.state.streams.values()):
                mine = {"node_id": node_id, "broker_epoch": member.broker_epoch, "stream_id": stream.stream_id}
                if stream.is_open and stream.owner == node_id != stream.assigned:
                    end = stream.committed_end
                    await outcome(node.submit(CloseStream(stream_epoch=stream.epoch, final_end=end, **mine)))
                elif not stream.is_open and stream.assigned == node_id:
                    await outcome(node.submit(OpenStream(stream_epoch=stream.epoch + 1, **mine)))
                    self.opens[stream.stream_id] += 1


__all__ = ["MIB", "RULES", "WAL_BYTES", "BalanceWorld", "Owner"]
