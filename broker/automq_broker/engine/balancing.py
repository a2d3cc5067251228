"""The balancer at work: while this process holds the controller's seat, it looks at the load and evens it out.

What it decides is worked out in `cluster.balance` and paced by `cluster.moves`; here the metadata and the heartbeats'
reports become its input, its moves become AssignStreams, and every decision is noted with its reason. Nothing depends
on it: a move that is not made costs evenness, and the owners carry out those that are made as any other.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from automq_broker.cluster.balance import Goal, Move, Node, Partition, Plan, Refusal, Rules, plan
from automq_broker.cluster.moves import Pace, Pacing, Rest
from automq_broker.cluster.rates import WINDOW_S, NodeRates
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.metadata_node import MetadataNode
from automq_broker.kernel.errors import AutomqError, ClientFault, NotMine, Retry
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta.commands import AssignStreams
from automq_broker.meta.records import Record, StreamsAssigned
from automq_broker.meta.rows import NodeRow, NodeStatus
from automq_broker.meta.topics import is_cordoned
from automq_broker.ports import Clock, Workers

_GLANCE_S: Final = 1.0
"""How often the pace is asked whether to look."""

_STREAMS_PER_BREATH: Final = 2_000
_FRESH_S: Final = 0.8 * WINDOW_S
_SLOW_FILL: Final = 0.75
_KIND: Final = "balance"
_VERDICTS: Final = {"met": "is even", "stuck": "stays uneven", "full": "goes on with the next batch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerKnobs:
    """The balancer's settings; asked for at every glance, because they may change at run time."""

    is_enabled: bool
    rules: Rules
    pacing: Pacing = field(default_factory=Pacing)
    excluded_nodes: frozenset[str] = frozenset()
    excluded_topics: frozenset[str] = frozenset()
    stale_s: float = 60.0


class NotTheController(NotMine):
    """The load is known to the controller alone."""


class Balancer:
    """One per process; `run` does nothing while another process holds the seat."""

    def __init__(
        self,
        metadata: MetadataNode,
        decisions: Decisions,
        clock: Clock,
        workers: Workers,
        knobs: Callable[[], BalancerKnobs],
    ) -> None:
        self._metadata = metadata
        self._workers = workers
        self._decisions = decisions
        self._clock = clock
        self._knobs = knobs
        self._epoch = -1
        self._pace = Pace(clock.monotonic())
        self._rest = Rest()
        self._noted: set[tuple[str, str]] = set()
        self._one_at_a_time = asyncio.Lock()
        self.latest: Plan | None = None
        """What the last look of this process found; None before the first one of its term."""
        self.looks_total = 0
        self.moves_total: Counter[Goal] = Counter(dict.fromkeys(Goal, 0))
        metadata.subscribe(self._applied)

    @property
    def is_enabled(self) -> bool:
        """Whether partitions are moved without anybody's asking."""
        return self._knobs().is_enabled

    @property
    def under_way(self) -> int:
        """Moves of the last batch that are not carried out yet."""
        return self._pace.under_way

    async def run(self) -> None:
        """For ever: look when it is time to."""
        while True:
            await asyncio.sleep(_GLANCE_S)
            knobs = self._knobs()
            if not self._metadata.is_holder:
                self.latest = None
            elif knobs.is_enabled and self._is_due(knobs):
                await self._look_and_carry_out(knobs)

    async def preview(self) -> Plan:
        """What a look now would do, and why not more; changes nothing. Raises NotTheController."""
        self._check_holder()
        return await self._look(self._knobs())

    async def balance(self) -> Plan:
        """Look now, also when it is disabled or not yet time; the moves that were made. Raises NotTheController."""
        self._check_holder()
        return await self._look_and_carry_out(self._knobs())

    @property
    def sessions(self) -> int:
        """Brokers whose heartbeats this process watches; 0 where another one is the controller."""
        return len(self._metadata.service.sessions) if self._metadata.is_holder else 0

    def load_of(self, node_id: NodeId) -> NodeRates | None:
        """What a broker told lately; None where another process is the controller, or nothing was heard yet."""
        return self._metadata.service.rates.node(node_id) if self._metadata.is_holder else None

    def silent_s(self, rates: NodeRates) -> float:
        """How long ago a broker told its load."""
        return self._clock.monotonic() - rates.heard_at

    def _applied(self, records: Iterable[Record]) -> None:
        """Every process notes every move, so that the next controller knows of those before it."""
        for record in records:
            if isinstance(record, StreamsAssigned):
                self._rest.moved(record.stream_ids, self._clock.monotonic(), self._knobs().pacing.rest_s)

    def _check_holder(self) -> None:
        if not self._metadata.is_holder:
            holder = self._metadata.holder
            where = "which is not known yet" if holder is None else f"broker {holder.node_id}"
            raise NotTheController(f"the load is known to the controller alone: ask {where}")

    def _is_due(self, knobs: BalancerKnobs) -> bool:
        now = self._clock.monotonic()
        if self._metadata.epoch != self._epoch:
            self._epoch = self._metadata.epoch
            self._pace = Pace(now)
            self._noted.clear()
        return self._pace.is_due(knobs.pacing, now, self._taking_part(knobs), self._is_settled)

    def _taking_part(self, knobs: BalancerKnobs) -> list[int]:
        return [node.node_id for node in self._nodes(knobs) if not node.excluded]

    def _is_settled(self, stream_id: int) -> bool:
        head = self._metadata.state.stream_head(StreamId(stream_id))
        return head is None or (head.is_open and head.owner == head.assigned)

    # --- what is the case -----------------------------------------------------------------------------------------

    async def _look_and_carry_out(self, knobs: BalancerKnobs) -> Plan:
        async with self._one_at_a_time:
            return await self._carry_out(await self._look(knobs))

    async def _look(self, knobs: BalancerKnobs) -> Plan:
        nodes = self._nodes(knobs)
        self._metadata.service.rates.forget({node.node_id for node in nodes})
        # COST: a third of a second for 100,000 partitions
        return await self._workers.run(plan, nodes, await self._partitions(knobs), knobs.rules)

    def _nodes(self, knobs: BalancerKnobs) -> list[Node]:
        """Every broker that is not ended, with why it is left out, if so."""
        rows = self._metadata.state.nodes.values()
        return [self._node(row, knobs) for row in rows if row.status is not NodeStatus.STOPPED]

    def _node(self, row: NodeRow, knobs: BalancerKnobs) -> Node:
        rates = self._metadata.service.rates.node(row.node_id)
        return Node(
            node_id=row.node_id,
            rack=row.rack,
            unnamed_in=rates.unnamed_in if rates else 0.0,
            unnamed_out=rates.unnamed_out if rates else 0.0,
            excluded=self._why_excluded(row, knobs),
        )

    def _why_excluded(self, row: NodeRow, knobs: BalancerKnobs) -> str:
        if row.status is not NodeStatus.ACTIVE:
            return f"it is {row.status.name}"
        if str(row.node_id) in knobs.excluded_nodes:
            return "autobalancer.controller.exclude.broker.ids names it"
        if is_cordoned(self._metadata.state, row.node_id):
            return "it is being drained"
        return _why_unfit(self._metadata.service.rates.node(row.node_id), self._clock.monotonic() - knobs.stale_s)

    async def _partitions(self, knobs: BalancerKnobs) -> list[Partition]:
        """All of them; gives way to the loop in between, a change meanwhile only makes the plan a little older."""
        state, rates, now = self._metadata.state, self._metadata.service.rates.streams(), self._clock.monotonic()
        found = []
        for count, stream_id in enumerate(list(state.streams), 1):
            if count % _STREAMS_PER_BREATH == 0:
                await asyncio.sleep(0)
            stream = state.streams.get(stream_id)
            topic = state.topics_by_id.get(stream.topic_id) if stream is not None else None
            if stream is None or topic is None:
                continue
            bytes_in, bytes_out = rates.get(stream.stream_id, (0.0, 0.0))
            stays = ""
            if topic.name in knobs.excluded_topics:
                stays = "autobalancer.controller.exclude.topics names their topics"
            elif not stream.is_open or stream.owner != stream.assigned:
                stays = "they are on their way already"
            elif not self._rest.is_over(stream.stream_id, now, knobs.pacing.rest_s):
                stays = f"they were moved in the last {knobs.pacing.rest_s:.0f} s"
            name = f"{topic.name}-{stream.partition}"
            found.append(Partition(stream.stream_id, name, stream.assigned, bytes_in, bytes_out, stays))
        return found

    # --- what is done ---------------------------------------------------------------------------------------------

    async def _carry_out(self, made: Plan) -> Plan:
        """Assign everything in one wave, which the controller commits together; the plan with what was accepted."""
        by_target: defaultdict[int, list[Move]] = defaultdict(list)
        for move in made.moves:
            by_target[move.target].append(move)
        accepted = await asyncio.gather(*(self._assign(target, moves) for target, moves in by_target.items()))
        moves = tuple(move for each in accepted for move in each)
        for move in moves:
            self.moves_total[move.goal] += 1
            to = f"broker {move.partition.node_id} -> broker {move.target}"
            self._decisions.note(_KIND, move.partition.name, to, move.reason)
        self._note_refusals(made.refusals)
        streams = [move.partition.stream_id for move in moves]
        taking_part = self._taking_part(self._knobs())
        self._pace.looked(self._clock.monotonic(), taking_part, streams, is_full=made.is_full)
        self.looks_total += 1
        self.latest = Plan(moves=moves, refusals=made.refusals, is_full=made.is_full)
        return self.latest

    async def _assign(self, target: int, moves: list[Move]) -> list[Move]:
        streams = tuple(StreamId(move.partition.stream_id) for move in moves)
        try:
            await self._submit(AssignStreams(stream_ids=streams, node_id=NodeId(target)))
        except (ClientFault, NotMine, Retry) as refusal:  # a topic or a broker went away meanwhile: the next look knows
            self._decisions.note(_KIND, f"broker {target}", f"gets none of {len(moves)} partitions", str(refusal))
            return []
        return moves

    async def _submit(self, command: AssignStreams) -> None:
        """In this process's own term or not at all: another controller is to decide by the load that it sees itself.

        Raises NotMine where the seat is lost, also on the way; the command may then have been carried out all the same.
        """
        term = self._metadata.term
        if term is None:
            raise NotTheController("the controller's seat was lost")
        answer = (await term.enqueue(command)).answer
        if isinstance(answer, AutomqError):
            raise answer

    def _note_refusals(self, refusals: Iterable[Refusal]) -> None:
        """Those that were not the case at the last look: what stays the same is not told every minute."""
        present = {(each.subject, each.kind) for each in refusals}
        for each in refusals:
            if (each.subject, each.kind) not in self._noted:
                verdict = _VERDICTS.get(each.kind, "left out")
                self._decisions.note(_KIND, each.subject, verdict, each.reason)
        self._noted = present


def _why_unfit(rates: NodeRates | None, heard_since: float) -> str:
    """Why a broker's load says that it is to be left alone; empty if it does not."""
    if rates is None or rates.window_s < _FRESH_S:
        return "it is fresh: its load is not known yet"
    if rates.heard_at < heard_since:
        return "its last report of load is older than autobalancer.controller.metrics.delay.ms"
    if rates.last.is_draining:
        return "it is being drained"
    if rates.last.wal_used_bytes > _SLOW_FILL * rates.last.wal_capacity_bytes:
        return f"it is slow: its write-ahead log is more than {_SLOW_FILL:.0%} full"
    return ""


__all__ = ["Balancer", "BalancerKnobs", "NotTheController"]
