"""The machine's side of the disks: make an attached volume a device, put a filesystem on it, mount it."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import Any

import grpc

from e2e.csi.answers import REGION_KEY, ZONE_KEY, refuse, require
from e2e.csi.disks import Attachment, Disks, Machine, Volume
from e2e.csi.loops import attached
from e2e.csi.protos import csi, csi_grpc
from e2e.csi.throttle import Throttle

VOLUMES_PER_MACHINE_MAX = 25


class Node(csi_grpc.NodeServicer):  # type: ignore[misc]
    """CSI's Node service of one machine. Raw block devices stay open in this process as long as they are staged."""

    def __init__(self, disks: Disks, machine: Machine, *, region: str) -> None:
        self._disks = disks
        self._machine = machine
        self._region = region
        self._throttle = Throttle()
        self._lock = RLock()
        self._block_devices: dict[str, tuple[ExitStack, str]] = {}

    def NodeGetCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Volumes are staged once per machine, and published to each pod."""
        kind = csi.NodeServiceCapability
        return csi.NodeGetCapabilitiesResponse(capabilities=[kind(rpc=kind.RPC(type=kind.RPC.STAGE_UNSTAGE_VOLUME))])

    def NodeGetInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Where this machine stands."""
        segments = {ZONE_KEY: self._machine.zone, REGION_KEY: self._region}
        return csi.NodeGetInfoResponse(
            node_id=self._machine.id,
            max_volumes_per_node=VOLUMES_PER_MACHINE_MAX,
            accessible_topology=csi.Topology(segments=segments),
        )

    def NodeStageVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Open the disk. If anybody has it open already, that is the VIOLATION which must never happen."""
        require(context, request, "volume_id", "staging_target_path", "volume_capability")
        volume, target = request.volume_id, request.staging_target_path
        with self._lock:
            known = self._must_be_attached_here(volume, context)
            if volume in self._block_devices or is_mounted(target):
                return csi.NodeStageVolumeResponse()
            users = self._disks.open_devices(volume)
            if users:
                self._tell("VIOLATION", volume, devices=[loop.path for loop in users])
                refuse(context, "INTERNAL", f"{volume} is open already: {users}")
            with ExitStack() as stack:
                _, device = stack.enter_context(attached(self._disks.image(volume)))
                if request.volume_capability.WhichOneof("access_type") == "block":
                    self._block_devices[volume] = (stack.pop_all(), device)
                else:
                    _mount_filesystem(device, target, context)
            self._throttle.hold(device, known)
            self._tell("NodeStageVolume", volume, device=device)
        return csi.NodeStageVolumeResponse()

    def NodeUnstageVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Close the disk."""
        require(context, request, "volume_id", "staging_target_path")
        with self._lock:
            self._throttle.let_go(request.volume_id)
            if is_mounted(request.staging_target_path):
                _run(["umount", request.staging_target_path], context)
            if request.volume_id in self._block_devices:
                self._block_devices.pop(request.volume_id)[0].close()
            self._tell("NodeUnstageVolume", request.volume_id)
        return csi.NodeUnstageVolumeResponse()

    def NodePublishVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Show a staged volume where a pod will find it."""
        require(context, request, "volume_id", "target_path", "staging_target_path", "volume_capability")
        target = Path(request.target_path)
        with self._lock:
            self._must_be_attached_here(request.volume_id, context)
            if not is_mounted(str(target)):
                options = ["-o", "ro"] if request.readonly else []
                if request.volume_id in self._block_devices:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.touch()
                    source = self._block_devices[request.volume_id][1]
                else:
                    target.mkdir(parents=True, exist_ok=True)
                    source = request.staging_target_path
                _run(["mount", "--bind", *options, source, str(target)], context)
            self._tell("NodePublishVolume", request.volume_id)
        return csi.NodePublishVolumeResponse()

    def NodeUnpublishVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Take it away from the pod."""
        require(context, request, "volume_id", "target_path")
        target = Path(request.target_path)
        with self._lock:
            if is_mounted(str(target)):
                _run(["umount", str(target)], context)
            if target.is_dir():
                target.rmdir()
            else:
                target.unlink(missing_ok=True)
            self._tell("NodeUnpublishVolume", request.volume_id)
        return csi.NodeUnpublishVolumeResponse()

    def _must_be_attached_here(self, volume: str, context: grpc.ServicerContext) -> Volume:
        known = self._disks.read(Volume, volume)
        if known is None:
            refuse(context, "NOT_FOUND", f"no volume {volume}")
        attachment = self._disks.read(Attachment, volume)
        if attachment is None or attachment.machine != self._machine.id:
            refuse(context, "FAILED_PRECONDITION", f"{volume} is not attached to {self._machine.id}: {attachment}")
        return known

    def _tell(self, call: str, volume: str, **details: Any) -> None:
        self._disks.tell(call, volume=volume, node=self._machine.node, **details)


def is_mounted(path: str) -> bool:
    """Whether something is mounted exactly there."""
    real = os.path.realpath(path)
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == real for line in mounts)


def _mount_filesystem(device: str, target: str, context: grpc.ServicerContext) -> None:
    """ext4: made on a blank disk, its journal replayed on one that was in use when its machine died."""
    if subprocess.run(["blkid", "-p", device], capture_output=True, check=False).returncode:
        _run(["mkfs.ext4", "-q", "-F", "-m0", device], context)
    else:
        subprocess.run(["e2fsck", "-p", device], capture_output=True, check=False)  # its verdict is the mount's
    os.makedirs(target, exist_ok=True)
    _run(["mount", "-t", "ext4", device, target], context)


def _run(command: Sequence[str], context: grpc.ServicerContext) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        refuse(context, "INTERNAL", f"{' '.join(command)}: {done.stderr.strip()}")
