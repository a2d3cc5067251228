"""What the subcommands of `automq cluster` share: where the cluster is, and how an answer is shown."""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from automq_broker.commands.admin_client import connect
from automq_broker.commands.output import console
from automq_broker.contract import admin

DEGRADED = 3
"""Exit code while a broker is missing, a log is being recovered, a partition is on its way, or a wish was held back."""


def client_options(run: Callable[..., None]) -> Callable[..., None]:
    """Where the cluster is and how to answer; the subcommand gets `client` and `as_json`."""

    @click.option("--admin", "urls", metavar="URL", multiple=True, help="Admin page of a broker; repeatable.")
    @click.option("--token-file", type=click.Path(path_type=Path), help="The token of automq.admin.token.file.")
    @click.option("--ca-file", type=click.Path(path_type=Path), help="Authorities for https, as PEM.")
    @click.option(
        "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="As for `automq up`."
    )
    @click.option("--json", "as_json", is_flag=True, help="For machines.")
    @wraps(run)
    def with_client(
        *, urls: tuple[str, ...], token_file: Path | None, ca_file: Path | None, data: Path, **options: Any
    ) -> None:
        client = connect(urls=urls, token_file=token_file, ca_file=ca_file, data=data)
        run(client=client, **options)

    return with_client


def show(answer: admin.Answer, as_json: bool, *lines: Any) -> None:
    """The answer as JSON, or the lines and tables for a person."""
    if as_json:
        click.echo(answer.model_dump_json(indent=2))
        return
    shown = console()
    for line in lines:
        shown.print(line)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Rows of cells under their columns, for a person."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


__all__ = ["DEGRADED", "client_options", "show", "table"]
