"""The options with which a command is told where the data are; the same for every command that needs settings."""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from automq_broker.settings import CONFIG_FILE_VARIABLE, Given, Settings, from_assignments, load_settings

# Option name -> the setting it stands for, and how its value is written there.
_SHORTHANDS: dict[str, tuple[str, str]] = {
    "data": ("automq.data.dir", "{}"),
    "port": ("listeners", "PLAINTEXT://127.0.0.1:{}"),
    "admin_port": ("admin.listener", "127.0.0.1:{}"),
    "bucket": ("s3.data.buckets", "{}"),
    "wal": ("s3.wal.path", "{}"),
    "accept_wal_loss": ("automq.accept.wal.loss", "{}"),
    "node": ("node.id", "{}"),
}


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command shares; the command gets `settings` in their place. May raise Refused."""

    @click.option("--data", metavar="DIR", help="Directory for bucket and write-ahead log [automq.data.dir].")
    @click.option("--bucket", metavar="URI", help="s3://name?region=... or a directory [s3.data.buckets].")
    @click.option("--wal", metavar="URI", help="The write-ahead log [s3.wal.path].")
    @click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="Java properties file.")
    @click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="Any setting; repeatable, wins.")
    @wraps(command)
    def with_settings(*, config: Path | None, assignments: tuple[str, ...], **options: Any) -> Any:
        shorthands = {name: options.pop(name) for name in list(options) if name in _SHORTHANDS}
        return command(settings=settings_from(config, shorthands, assignments), **options)

    return with_settings


def settings_from(config: Path | None, shorthands: Mapping[str, Any], assignments: tuple[str, ...]) -> Settings:
    """Settings from the file, the environment and the flags; `shorthands` are options by name. May raise Refused."""
    given = []
    for name, value in shorthands.items():
        if value is None or value is False:
            continue
        key, pattern = _SHORTHANDS[name]
        text = "true" if value is True else str(value)
        given.append(Given(key=key, value=pattern.format(text), origin=f"--{name.replace('_', '-')}"))
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    return load_settings(
        config_file=config or (Path(named) if named else None),
        environment=os.environ,
        flags=[*given, *from_assignments(assignments)],
    )


__all__ = ["settings_from", "settings_options"]
