"""The live screen of `automq up`: brokers, what they carry, what is being recovered and why, the newest events."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from automq_operator.broker_api import Figures
from automq_operator.decide.values import Plan
from automq_operator.report.lines import Changes
from automq_operator.steps import Step
from automq_operator.world import InstanceState, Recovery, Status, World

_EVENTS_SHOWN = 8
_STYLES = {Status.ACTIVE: "green", Status.RECOVERING: "yellow", Status.FENCED: "yellow", Status.RESCUING: "red"}


class PlainReport:
    """Lines with a time, for logs and pipes."""

    def __init__(self) -> None:
        self._changes = Changes()

    def decided(self, world: World, planned: Plan) -> None:
        """See loop.Reporter."""
        for line in self._changes.of(world, planned, {}):
            self.say(line)

    def turn(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """See loop.Reporter."""
        for line in self._changes.failed(failures):
            self.say(line)

    def say(self, line: str) -> None:
        """One line."""
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


class ScreenReport:
    """One screen, drawn anew each turn; a context manager, since the terminal must be given back."""

    def __init__(self, heading: str, figures: Callable[[], Mapping[int, Figures]]) -> None:
        self._heading = heading
        self._figures = figures
        self._before: dict[int, tuple[float, Figures]] = {}
        self._changes = Changes()
        self._events: deque[str] = deque(maxlen=_EVENTS_SHOWN)
        self._live = Live(console=Console(), auto_refresh=False)

    def __enter__(self) -> "ScreenReport":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def decided(self, world: World, planned: Plan) -> None:
        """See loop.Reporter."""
        self._note(self._changes.of(world, planned, {}))
        self._draw(world, planned)

    def turn(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """See loop.Reporter. What was decided is on the screen already."""
        if failures:
            self._note(self._changes.failed(failures))
            self._draw(world, planned)

    def _note(self, lines: list[str]) -> None:
        self._events.extend(f"{time.strftime('%H:%M:%S')} {line}" for line in lines)

    def _draw(self, world: World, planned: Plan) -> None:
        under_way = [each for each in planned.memory.recoveries if not each.is_done]
        recoveries, events = map(_recovery_line, under_way), map(Text, self._events)
        heading = Text(self._heading, style="bold")
        self._live.update(Group(heading, self._brokers(world), *recoveries, Text(""), *events), refresh=True)

    def say(self, line: str) -> None:
        """One line above the screen."""
        self._live.console.print(line)

    def _brokers(self, world: World) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("Broker", "Status", "Epoch", "Leaders", "In/s", "Out/s", "WAL", ""):
            table.add_column(column)
        for node_id in world.node_ids():
            table.add_row(*self._row(world, node_id))
        return table

    def _row(self, world: World, node_id: int) -> list[str | Text]:
        broker, instance = world.broker(node_id), world.instance(node_id)
        status: str | Text = (
            "-" if broker is None else Text(broker.status.value, style=_STYLES.get(broker.status, "dim"))
        )
        bytes_in, bytes_out, wal = self._rates(node_id)
        notes = ["controller"] if world.controller == node_id else []
        if instance is None:
            notes.append("not started")
        elif instance.state is not InstanceState.RUNNING:
            notes.append(f"{instance.state.value}: {instance.detail}")
        if broker is not None and broker.is_cordoned:
            notes.append("draining")
        epoch, leaders = ("-", "-") if broker is None else (str(broker.broker_epoch), str(broker.partitions_open))
        return [str(node_id), status, epoch, leaders, bytes_in, bytes_out, wal, ", ".join(notes)]

    def _rates(self, node_id: int) -> tuple[str, str, str]:
        figures, now = self._figures().get(node_id), time.monotonic()
        if figures is None:
            self._before.pop(node_id, None)
            return "-", "-", "-"
        at, before = self._before.get(node_id, (now, figures))
        self._before[node_id] = (now, figures)
        seconds = max(now - at, 1e-3)
        wal = f"{_size(figures.wal_used)} of {_size(figures.wal_capacity)}"
        return (
            _size(max(0.0, figures.bytes_in - before.bytes_in) / seconds),
            _size(max(0.0, figures.bytes_out - before.bytes_out) / seconds),
            wal,
        )


def _recovery_line(recovery: Recovery) -> Text:
    seconds = time.time() - recovery.began_at
    return Text(f"broker {recovery.key.node_id}: {recovery.stage} for {seconds:.0f} s: {recovery.reason}", style="red")


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


__all__ = ["PlainReport", "ScreenReport"]
