"""How commands print: tables for people, JSON for machines, a progress bar on standard error where somebody looks."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_WIDTH = 160
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


class Bar(Protocol):
    """Long work reports here; amounts are bytes unless the bar was opened for something else."""

    def total(self, amount: float | None) -> None:
        """How much there is to do in all; None = not known yet."""

    def advance(self, amount: float, doing: str = "") -> None:
        """So much more is done; `doing` replaces the words before the bar."""


class _Silent:
    def total(self, amount: float | None) -> None:
        """Nobody looks."""

    def advance(self, amount: float, doing: str = "") -> None:
        """Nobody looks."""


@contextmanager
def progress(doing: str, *, is_shown: bool = True, unit_is_bytes: bool = True) -> Iterator[Bar]:
    """A bar with amount, speed and time left on standard error; nothing when that is no terminal."""
    if not is_shown or not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console  # noqa: PLC0415 - rich is 60 ms that `automq --help` need not pay
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amounts = [DownloadColumn(binary_units=True), TransferSpeedColumn()] if unit_is_bytes else [MofNCompleteColumn()]
    columns = [TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)

        class Shown:
            def total(self, amount: float | None) -> None:
                bar.update(task, total=amount)

            def advance(self, amount: float, doing: str = "") -> None:
                bar.update(task, advance=amount, description=doing or None)

        yield Shown()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on standard output; columns whose name ends in a space are numbers and stand to the right."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name.rstrip(), justify="right" if name.endswith(" ") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)
    click.echo()


def console(*, is_error: bool = False) -> "Console":
    """Where tables go, as wide as the terminal; where there is none, wide enough that a pipe gets whole lines."""
    from rich.console import Console  # noqa: PLC0415

    stream = sys.stderr if is_error else sys.stdout
    return Console(stderr=is_error, width=None if stream.isatty() else _PIPED_WIDTH, highlight=False)


def print_json(value: Any, *, is_line: bool = False) -> None:
    """JSON on standard output, indented, or as one line of a stream."""
    click.echo(json.dumps(value, indent=None if is_line else 2, ensure_ascii=False))


def size_text(size_bytes: float) -> str:
    """`1536` -> `1.5 KiB`."""
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    for unit in _UNITS:
        size_bytes /= 1024
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
    return f"{size_bytes:.1f} {unit}"


def time_text(time_ms: int) -> str:
    """Milliseconds since the epoch as UTC; `-` for none, and the number where no calendar reaches."""
    if time_ms < 0:
        return "-"
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"


def age_text(age_ms: float) -> str:
    """`93784000` -> `1 d 2 h`: the two largest units."""
    rest = max(0, int(age_ms // 1000))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


__all__ = ["Bar", "age_text", "console", "print_json", "print_table", "progress", "size_text", "time_text"]
