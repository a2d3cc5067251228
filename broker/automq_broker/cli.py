"""The command `automq`: finds its subcommands, and turns every end into an exit code and at most one line.

A subcommand is `command` in a module of automq_broker.commands, loaded only when it is called or listed. Other
distributions add theirs through entry points of the group "automq.commands": functions that return click commands.
"""

import importlib.util
import logging
import os
import pkgutil
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points

import click

from automq_broker import commands as own
from automq_broker.kernel.errors import AutomqError, Bug

OK, REFUSED, USAGE, BUG, INTERRUPTED, PIPE_CLOSED = 0, 1, 2, 70, 130, 141

ENTRY_POINTS = "automq.commands"


class Commands(click.Group):
    """Subcommands by name: our own modules first, then what is installed beside."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*(command.name or "" for command in commands()), *_others()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None if there is none of this name."""
        return _own_command(cmd_name.replace("-", "_")) or _others().get(cmd_name)


def commands() -> list[click.Command]:
    """The broker's own commands by name; what pyproject names as this distribution's entry point."""
    found = (_own_command(module.name) for module in pkgutil.iter_modules(own.__path__))
    return [command for command in found if command is not None]


def _own_command(module_name: str) -> click.Command | None:
    """`command` of a module, named like it; None if there is no such module, or if it is code that commands share."""
    path = f"{own.__name__}.{module_name}"
    if not module_name.isidentifier() or importlib.util.find_spec(path) is None:
        return None
    command = getattr(importlib.import_module(path), "command", None)
    if not isinstance(command, click.Command):
        return None
    command.name = module_name.replace("_", "-")
    return command


def _others() -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for point in entry_points(group=ENTRY_POINTS):
        if point.module != __name__:
            found.update((command.name or point.name, command) for command in point.load()())
    return found


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  automq serve                 a durable Kafka on 127.0.0.1:9092, data in ./data
  automq config                every setting, its value and where it came from
  automq COMMAND --help        more about one command
""",
)
@click.version_option(package_name="automq", prog_name="automq")
def automq() -> None:
    """Kafka whose brokers own nothing: a small write-ahead log in front, a bucket behind."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; refusals are one line on standard error, never a traceback."""
    try:
        automq.main(args=list(arguments), prog_name="automq", standalone_mode=False)
    except BaseException as end:  # noqa: BLE001 - the last door: every way to end gets an exit code of its own
        return exit_code(end)
    return OK


def exit_code(end: BaseException) -> int:
    """What the process should end with; shows what there is to say."""
    code = BUG
    match end:
        case SystemExit():
            code = end.code if isinstance(end.code, int) else _refuse(str(end.code)) if end.code else OK
        case click.exceptions.Exit():
            code = end.exit_code
        case click.UsageError():
            end.show()
            code = USAGE
        case click.ClickException():
            _refuse(end.format_message())
            code = end.exit_code
        case BrokenPipeError():
            code = _stop_writing()
        case click.Abort() | KeyboardInterrupt():
            code = INTERRUPTED
        case AutomqError() if not isinstance(end, Bug):
            code = _refuse(str(end) or type(end).__name__)
        case _:
            traceback.print_exception(end)
    return code


def _refuse(message: str) -> int:
    line = "".join(c if c.isprintable() else " " for c in message)
    print(f"automq: {line}", file=sys.stderr)
    return REFUSED


def _stop_writing() -> int:
    """Whoever read our output has gone, as `head` does: end quietly, also when what is left is flushed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def leave(code: int) -> None:
    """End the process with `code`, everything flushed.

    Once obstore ran, the interpreter's own way out can abort in its runtime threads, so that way is not taken then; nor
    while a thread is left, since it would be waited for, and a disk that does not answer holds one for ever.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            continue
    if "obstore" in sys.modules or threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)


__all__ = [
    "BUG",
    "ENTRY_POINTS",
    "INTERRUPTED",
    "OK",
    "PIPE_CLOSED",
    "REFUSED",
    "USAGE",
    "automq",
    "commands",
    "exit_code",
    "leave",
    "run",
]
