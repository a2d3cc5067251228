"""A row of the table: what was measured, on whom, what is demanded, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median


class NotMeasured(Exception):
    """A row cannot be measured here; the message says why. It is shown in the table, never replaced by a guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What the figure must and should be; `is_least` says whether more is better. None where there is no aim."""

    must: float
    aim: float | None = None
    is_least: bool = True

    def verdict(self, value: float) -> str:
        """ "aim", "must" or "missed"."""
        if self.aim is not None and self._holds(value, self.aim):
            return "aim"
        return "must" if self._holds(value, self.must) else "missed"

    def words(self) -> str:
        """The demand in a table's cell."""
        sign = "≥" if self.is_least else "≤"
        return f"{sign} {self.must:g}" + ("" if self.aim is None else f" (aim {self.aim:g})")

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.is_least else value <= limit


@dataclass(slots=True, kw_only=True)
class Row:
    """`value` is what the demand is about (often a ratio); `ours`, `kafka`, `kafka_flush` are the figures behind it.

    `value` None means that the row was not measured, and then `notes` says why.
    """

    figure: str
    unit: str = ""
    value: float | None = None
    value_unit: str = ""
    demand: Demand | None = None
    ours: float | None = None
    kafka: float | None = None
    kafka_flush: float | None = None
    notes: list[str] = field(default_factory=list)
    samples: dict[str, list[float]] = field(default_factory=dict)

    def verdict(self) -> str:
        """The last cell."""
        if self.value is None:
            return "not measured"
        return self.demand.verdict(self.value) if self.demand is not None else "shown"


def not_measured(figure: str, why: str) -> Row:
    """A row without a figure."""
    return Row(figure=figure, notes=[why])


def middle(samples: Sequence[float]) -> float:
    """The median of the rounds."""
    return float(median(samples))


def spread(samples: Sequence[float]) -> str:
    """The rounds' range in words."""
    return f"{min(samples):.4g} to {max(samples):.4g} in {len(samples)} rounds"


def render(rows: Sequence[Row]) -> str:
    """The table as Markdown, which also reads well in a terminal; notes are numbered below it."""
    head = ["figure", "unit", "ours", "Kafka", "Kafka flush=1", "measured", "demand", "verdict"]
    body, notes = [], []
    for row in rows:
        marks = ""
        for note in row.notes:
            notes.append(note)
            marks += f" [{len(notes)}]"
        value = "" if row.value is None else f"{row.value:.3g}{row.value_unit}"
        numbers = [_cell(figure) for figure in (row.ours, row.kafka, row.kafka_flush)]
        demand = row.demand.words() if row.demand else ""
        body.append([row.figure + marks, row.unit, *numbers, value, demand, row.verdict()])
    widths = [max(len(line[column]) for line in [head, *body]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    shown = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([*shown, "", *(f"[{number}] {note}" for number, note in enumerate(notes, 1))])


def _cell(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.4g}"


Measure = Callable[..., list[Row]]
"""A row function: it takes the bench and returns its rows; it may raise NotMeasured."""
