"""The driver's programs: `controller` in the control plane, `node` on each node, `both` on one socket for csi-sanity."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import grpc

from e2e.cluster.layout import REGION
from e2e.csi.controller import Cloud, Controller, NoCloud
from e2e.csi.disks import Disks, Machine
from e2e.csi.identity import Identity
from e2e.csi.node import Node
from e2e.csi.protos import csi_grpc, registration_grpc
from e2e.csi.registration import PLUGIN_SOCKET, REGISTRATION_SOCKET, Registration
from e2e.paths import DISKS


@click.group()
def commands() -> None:
    """The CSI driver of the local cluster."""


@commands.command()
@click.option("--socket", type=click.Path(path_type=Path), required=True)
@click.option("--kubeconfig", type=click.Path(path_type=Path), required=True)
@click.option("--ec2", help="Endpoint of EC2, whose books are kept in step.")
def controller(socket: Path, kubeconfig: Path, ec2: str | None) -> None:
    """Attach and detach for the external-attacher; make and delete PersistentVolumes."""
    from e2e.csi.provisioner import provision_for_ever  # noqa: PLC0415 - a node does without the 60 MB of its client

    disks = Disks(DISKS)
    service = Controller(disks, _cloud(ec2), region=REGION)
    server = _serve(socket, lambda server: csi_grpc.add_ControllerServicer_to_server(service, server), _identity)
    provision_for_ever(kubeconfig, disks, socket)
    server.stop(None)


@commands.command()
@click.option("--name", required=True)
@click.option("--machine", required=True, help="The instance's id.")
@click.option("--zone", required=True)
def node(name: str, machine: str, zone: str) -> None:
    """Stage and publish on one node, known to its kubelet."""
    disks = Disks(DISKS)
    here = Machine(id=machine, node=name, zone=zone)
    disks.write(here)
    service = Node(disks, here, region=REGION)
    # Both are held on to: a server that nobody refers to any more closes its socket.
    servers = (
        _serve(PLUGIN_SOCKET, lambda server: csi_grpc.add_NodeServicer_to_server(service, server), _identity),
        _serve(
            REGISTRATION_SOCKET,
            lambda server: registration_grpc.add_RegistrationServicer_to_server(Registration(), server),
        ),
    )
    for server in servers:
        server.wait_for_termination()


@commands.command()
@click.option("--socket", type=click.Path(path_type=Path), required=True)
@click.option("--disks", "folder", type=click.Path(path_type=Path), required=True)
def both(socket: Path, folder: Path) -> None:
    """All services on one socket, without Kubernetes: what csi-sanity examines."""
    disks = Disks(folder)
    here = Machine(id="i-here", node="here", zone="zone-1")
    disks.write(here)
    services = (Controller(disks, NoCloud(), region=REGION), Node(disks, here, region=REGION))
    server = _serve(
        socket,
        lambda server: csi_grpc.add_ControllerServicer_to_server(services[0], server),
        lambda server: csi_grpc.add_NodeServicer_to_server(services[1], server),
        _identity,
    )
    server.wait_for_termination()


def _cloud(endpoint: str | None) -> Cloud:
    if endpoint is None:
        return NoCloud()
    from e2e.aws.volumes import Ec2Volumes  # noqa: PLC0415 - a node does without boto3

    return Ec2Volumes(endpoint)


def _identity(server: grpc.Server) -> None:
    csi_grpc.add_IdentityServicer_to_server(Identity(), server)


def _serve(socket: Path, *services: Callable[[grpc.Server], None]) -> grpc.Server:
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.server(ThreadPoolExecutor(8))
    for add in services:
        add(server)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server


if __name__ == "__main__":
    commands()
