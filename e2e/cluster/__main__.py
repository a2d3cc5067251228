"""`python -m e2e.cluster`: the cluster by hand."""

import os
import sys

import click

from e2e.aws.instances import Instances
from e2e.build.binaries import binary
from e2e.cluster import control_plane, layout, local, node, pki, requirements, waiting
from e2e.cluster.requirements import CannotRun
from e2e.images.images import all_images

NODE = click.argument("name", type=click.Choice([one.name for one in layout.NODES]))


@click.group()
def commands() -> None:
    """A Kubernetes with four nodes in two zones on this machine."""


@commands.command()
def check() -> None:
    """Say every reason why this machine cannot run it; the exit code is 1 if there is one."""
    _must_run_here()


@commands.command()
def up() -> None:
    """Build what is missing and start what does not run."""
    _must_run_here()
    local.up()
    click.echo(
        f"export KUBECONFIG={pki.kubeconfig('admin')} PATH={binary('kubectl').parent}:{binary('helm').parent}:$PATH"
    )


@commands.command()
def down() -> None:
    """End everything and remove what it kept."""
    local.down()


@commands.command()
def status() -> None:
    """What runs. The exit code is 1 unless all of it does."""
    parts = local.status()
    for name, state in parts.items():
        click.echo(f"{name:<26}{state}")
    sys.exit(any(state != "running" for state in parts.values()))


@commands.command()
def load() -> None:
    """Build images that have changed and bring them onto the nodes; prints their names."""
    for image in all_images():
        local.load(image)
        click.echo(image.name)


@commands.command(name="api-server")
@click.argument("action", type=click.Choice(["stop", "start"]))
def api_server(action: str) -> None:
    """Take Kubernetes' voice away, or give it back; pods go on."""
    if action == "stop":
        control_plane.stop_api_server()
    else:
        control_plane.start_api_server()


@commands.group(name="node")
def nodes() -> None:
    """What can happen to a machine."""


@nodes.command()
@NODE
def kill(name: str) -> None:
    """Its power goes; EC2 still believes that it runs."""
    node.kill(layout.node(name))


@nodes.command()
@NODE
def stop(name: str) -> None:
    """Its instance is stopped."""
    Instances().stop(layout.node(name))
    _wait_off(name)


@nodes.command()
@NODE
def terminate(name: str) -> None:
    """Its instance is terminated: the next boot is a new machine."""
    Instances().terminate(layout.node(name))
    _wait_off(name)


@nodes.command()
@NODE
def boot(name: str) -> None:
    """Power on, until it is Ready."""
    local.switch_on(layout.node(name), [image.archive for image in all_images()])


@nodes.command()
@NODE
def freeze(name: str) -> None:
    """Every process on it stands still."""
    node.freeze(layout.node(name))


@nodes.command()
@NODE
def thaw(name: str) -> None:
    """Its processes go on."""
    node.thaw(layout.node(name))


@nodes.command(name="cut-off")
@NODE
def cut_off(name: str) -> None:
    """Its network cable is pulled."""
    node.cut_off(layout.node(name))


@nodes.command()
@NODE
def heal(name: str) -> None:
    """Its network cable is back."""
    node.heal(layout.node(name))


@nodes.command(context_settings={"ignore_unknown_options": True})
@NODE
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def enter(name: str, command: tuple[str, ...]) -> None:
    """Run a command on it, a shell by default."""
    line = node.entering(layout.node(name), *(command or ("bash",)))
    os.execvp(line[0], line)


def _must_run_here() -> None:
    try:
        requirements.check()
    except CannotRun as error:
        raise click.ClickException(str(error)) from error


def _wait_off(name: str) -> None:
    waiting.until(lambda: not node.is_running(layout.node(name)), f"{name} has lost its power", seconds=30)


if __name__ == "__main__":
    commands(prog_name="python -m e2e.cluster")
