"""What this part adds to the command `automq`, through the entry point group "automq.commands"."""

import click

from automq_operator.commands.up import command as up


def commands() -> list[click.Command]:
    """All of them; named in pyproject."""
    return [up]


__all__ = ["commands"]
