"""`automq config`: every setting with its value, where that came from, and what it means."""

import dataclasses
import json
from fnmatch import fnmatchcase

import click

from automq_broker.commands.settings_options import settings_options
from automq_broker.contract.config_rows import ConfigRow, ConfigSource
from automq_broker.settings import Settings, variable_name


@click.command(
    epilog="""\b
Examples:
  automq config                        all settings
  automq config 's3.wal.*'             some of them
  automq config --changed --config server.properties
  automq config --json | jq '.[] | select(.source != "DEFAULT")'
"""
)
@click.argument("patterns", nargs=-1, metavar="[NAME]...")
@click.option("--port", type=click.IntRange(0, 65535), help="As for serve.")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="As for serve.")
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@settings_options
def command(settings: Settings, patterns: tuple[str, ...], changed: bool, as_json: bool) -> None:
    """Show settings as `automq serve` with the same options would use them. NAME may hold * and ?."""
    rows = [row for row in settings.describe() if _is_wanted(row, patterns, changed)]
    if as_json:
        click.echo(json.dumps([_as_json(row) for row in rows], indent=2))
        return
    for row in rows:
        click.echo(_paragraph(row))
    for key in settings.ignored:
        click.echo(f"{key.key} has no effect: {key.reason} (from {key.origin})")


def _is_wanted(row: ConfigRow, patterns: tuple[str, ...], changed: bool) -> bool:
    if changed and row.source is ConfigSource.DEFAULT:
        return False
    return not patterns or any(fnmatchcase(row.name, pattern) for pattern in patterns)


def _paragraph(row: ConfigRow) -> str:
    unit = f" {row.unit}" if row.unit else ""
    update = "at a restart" if row.is_read_only else "at any time"
    is_hidden = row.is_sensitive and row.source is not ConfigSource.DEFAULT
    value = "<hidden>" if is_hidden else _or_unset(row.value)
    return (
        f"{click.style(row.name, bold=True)} = {value}{unit if value[:1].isdigit() else ''}   ({row.origin})\n"
        f"    default {_or_unset(row.default)}; allowed: {row.allowed}{f' ({row.unit})' if row.unit else ''}; "
        f"changes {update}; {variable_name(row.name)}\n"
        f"    {row.doc}"
    )


def _or_unset(value: str | None) -> str:
    return "unset" if value is None else value or '""'


def _as_json(row: ConfigRow) -> dict[str, object]:
    fields = dataclasses.asdict(row)
    fields.update(type=row.type.name, source=row.source.name)
    fields["synonyms"] = [{**synonym, "source": synonym["source"].name} for synonym in fields["synonyms"]]
    return fields


__all__ = ["command"]
