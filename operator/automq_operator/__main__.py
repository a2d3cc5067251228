"""`automq-operator`: run the operator, or let it explain what it would do."""

import asyncio
import logging
import os
from pathlib import Path

import click
import yaml
from pydantic import ValidationError

from automq_operator.kube import KubeError
from automq_operator.observe.frame import UnreadableError
from automq_operator.settings import Settings, settings_from


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  automq-operator run
  automq-operator plan -f cluster.yaml
""",
)
def main() -> None:
    """Runs Kafka clusters (AutoMQCluster) on Kubernetes. Settings come from AUTOMQ_OPERATOR_ variables."""


@main.command(
    epilog="""\b
Examples:
  automq-operator run                                              as the chart runs it
  AUTOMQ_OPERATOR_WATCH_NAMESPACES=kafka automq-operator run       for resources of one namespace
"""
)
def run() -> None:
    """Work, as soon as this process holds the Lease."""
    from automq_operator.run import run as work  # noqa: PLC0415  kopf is no business of `plan --world`

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else a line for every change of every pod
    raise SystemExit(asyncio.run(work(_settings())))


@main.command(
    epilog="""\b
Examples:
  automq-operator plan -f cluster.yaml                       what would be done to the cluster now
  automq-operator plan -f cluster.yaml --dump world.json     and keep what was seen
  automq-operator plan -f cluster.yaml --world world.json    the same again, without a cluster
"""
)
@click.option("-f", "file", type=click.Path(exists=True, path_type=Path), required=True, help="The resource, as YAML.")
@click.option("--world", type=click.Path(exists=True, path_type=Path), help="A world from an earlier --dump.")
@click.option("--dump", type=click.Path(path_type=Path), help="Write what was seen to this file.")
def plan(file: Path, world: Path | None, dump: Path | None) -> None:
    """Say what would be done now, and why; change nothing."""
    from automq_operator import explain  # noqa: PLC0415

    resource = yaml.safe_load(file.read_text())
    try:
        if world is not None:
            click.echo("\n".join(explain.from_dump(resource, world)))
            return
        found, seen = explain.from_cluster(resource, _settings())
    except (KubeError, UnreadableError, ValidationError) as error:
        raise click.ClickException(str(error)) from error
    if dump is not None and seen is not None:
        dump.write_text(seen.model_dump_json(indent=1))
    click.echo("\n".join(found))


@main.command(
    epilog="""\b
Examples:
  automq-operator remaining && helm uninstall automq-operator
"""
)
def remaining() -> None:
    """Fail, and name them, while AutoMQClusters exist: without an operator they cannot end in order."""
    from automq_operator.explain import remaining_clusters  # noqa: PLC0415

    try:
        found = remaining_clusters(_settings())
    except KubeError as error:
        raise click.ClickException(str(error)) from error
    if found:
        raise click.ClickException(f"these AutoMQClusters exist; delete them first: {', '.join(found)}")
    click.echo("no AutoMQCluster exists")


def _settings() -> Settings:
    try:
        return settings_from(os.environ)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise click.ClickException(f"AUTOMQ_OPERATOR_{name}: {first['msg']}") from error


if __name__ == "__main__":
    main()
