"""The driver is a CSI driver, and sees what must never happen. Real loop devices, no cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from e2e.build.binaries import binary
from e2e.cluster import waiting
from e2e.csi.disks import Disks
from e2e.csi.loops import attached
from e2e.csi.protos import csi, csi_grpc
from e2e.paths import ROOT


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    """Where a driver with all its services listens; its disks lie in tmp_path/disks."""
    socket = tmp_path / "csi.sock"
    command = [sys.executable, "-m", "e2e.csi", "both", f"--socket={socket}", f"--disks={tmp_path}/disks"]
    driver = subprocess.Popen(command, cwd=ROOT)
    try:
        waiting.until(socket.exists, "the driver listens", seconds=30)
        yield socket
    finally:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize("access", ["mount", "block"])
def test_the_driver_passes_csi_sanity(socket: Path, tmp_path: Path, access: str) -> None:
    options = {
        "csi.endpoint": socket,
        "csi.mountdir": tmp_path / "mount",
        "csi.stagingdir": tmp_path / "staging",
        "csi.testvolumesize": 64 << 20,
        "csi.testvolumeaccesstype": access,
    }
    subprocess.run([binary("csi-sanity"), *(f"--{name}={value}" for name, value in options.items())], check=True)


def test_a_disk_that_is_open_is_neither_detached_nor_opened_again(socket: Path, tmp_path: Path) -> None:
    disks = Disks(tmp_path / "disks")
    ability = csi.VolumeCapability(block=csi.VolumeCapability.BlockVolume())
    ability.access_mode.mode = csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        controller, node = csi_grpc.ControllerStub(channel), csi_grpc.NodeStub(channel)
        volume = controller.CreateVolume(csi.CreateVolumeRequest(name="one", volume_capabilities=[ability])).volume
        disk: dict[str, Any] = {"volume_id": volume.volume_id}
        where = {"node_id": "i-here"}
        controller.ControllerPublishVolume(
            csi.ControllerPublishVolumeRequest(**disk, **where, volume_capability=ability)
        )
        with attached(disks.image(volume.volume_id)):  # somebody else has it
            stage = csi.NodeStageVolumeRequest(
                **disk, staging_target_path=str(tmp_path / "staged"), volume_capability=ability
            )
            assert refusal(lambda: node.NodeStageVolume(stage)) is grpc.StatusCode.INTERNAL
            detach = csi.ControllerUnpublishVolumeRequest(**disk, **where)
            assert refusal(lambda: controller.ControllerUnpublishVolume(detach)) is grpc.StatusCode.ABORTED
        assert [event["volume"] for event in disks.violations()] == [volume.volume_id]
        controller.ControllerUnpublishVolume(detach)
        controller.DeleteVolume(csi.DeleteVolumeRequest(**disk))


def refusal(call: Any) -> grpc.StatusCode:
    """The status with which the driver refuses the call."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    code: grpc.StatusCode = refused.value.code()
    return code
