"""The cloud's side of the disks: create, delete, attach, detach, with EBS's refusals."""

import os
import time
from collections.abc import Mapping
from threading import RLock
from typing import Any, Protocol

import grpc

from e2e.csi.answers import REGION_KEY, ZONE_KEY, refuse, require
from e2e.csi.disks import Attachment, Disks, Machine, Volume, new_volume_id
from e2e.csi.protos import csi, csi_grpc

DEFAULT_SIZE_BYTES = 1 << 30


class Cloud(Protocol):
    """The provider's own books, if there is one: what boto3 would be told about these disks."""

    def create_volume(self, name: str, size_bytes: int, zone: str) -> str:
        """The id of a new volume."""

    def delete_volume(self, id: str) -> None:
        """It is no more."""

    def attach_volume(self, id: str, machine: str) -> None:
        """It is attached there."""

    def detach_volume(self, id: str) -> None:
        """It is attached nowhere."""


class NoCloud:
    """Disks without a provider around them."""

    def create_volume(self, name: str, size_bytes: int, zone: str) -> str:
        """A name of our own."""
        return new_volume_id()

    def delete_volume(self, id: str) -> None:
        """Nobody else knows of it."""

    def attach_volume(self, id: str, machine: str) -> None:
        """Nobody else knows of it."""

    def detach_volume(self, id: str) -> None:
        """Nobody else knows of it."""


class Controller(csi_grpc.ControllerServicer):  # type: ignore[misc]
    """CSI's Controller service. One lock: calls are decided one after the other, injected delays aside."""

    def __init__(self, disks: Disks, cloud: Cloud, *, region: str) -> None:
        self._disks = disks
        self._cloud = cloud
        self._region = region
        self._lock = RLock()

    def ControllerGetCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Create, delete, attach, detach."""
        kind = csi.ControllerServiceCapability
        calls = (kind.RPC.CREATE_DELETE_VOLUME, kind.RPC.PUBLISH_UNPUBLISH_VOLUME)
        return csi.ControllerGetCapabilitiesResponse(capabilities=[kind(rpc=kind.RPC(type=call)) for call in calls])

    def CreateVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Idempotent by name. The zone is the first one preferred; parameter `zonal: "false"` makes it go anywhere.

        `throughput` (MiB per second) and `iops` are the parameters of EBS's own driver.
        """
        require(context, request, "name", "volume_capabilities")
        self._suffer("CreateVolume", context)
        size = request.capacity_range.required_bytes or DEFAULT_SIZE_BYTES
        limit = request.capacity_range.limit_bytes
        if limit and size > limit:
            refuse(context, "OUT_OF_RANGE", f"{size} bytes are more than the limit of {limit}")
        zone = "" if request.parameters.get("zonal") == "false" else _zone_wanted(request)
        with self._lock:
            known = self.named(request.name)
            if known is not None and known.size_bytes != size:
                refuse(context, "ALREADY_EXISTS", f"{request.name} exists with {known.size_bytes} bytes")
            volume = known or self._create(request.name, size, zone, request.parameters)
        return csi.CreateVolumeResponse(volume=self._describe(volume))

    def DeleteVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Refused while it is attached; one that is not there is deleted."""
        require(context, request, "volume_id")
        self._suffer("DeleteVolume", context)
        with self._lock:
            volume = self._disks.read(Volume, request.volume_id)
            if volume is not None:
                if self._disks.read(Attachment, volume.id) is not None:
                    refuse(context, "FAILED_PRECONDITION", f"{volume.id} is attached")
                self._cloud.delete_volume(volume.id)
                self._disks.image(volume.id).unlink(missing_ok=True)
                self._disks.remove(volume)
                self._disks.tell("DeleteVolume", volume=volume.id)
        return csi.DeleteVolumeResponse()

    def ControllerPublishVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Attach: refused in another zone, and while it is attached to another machine."""
        require(context, request, "volume_id", "node_id", "volume_capability")
        self._suffer("ControllerPublishVolume", context)
        with self._lock:
            volume = self._disks.read(Volume, request.volume_id)
            machine = self._disks.read(Machine, request.node_id)
            if volume is None or machine is None:
                refuse(context, "NOT_FOUND", f"no volume {request.volume_id} or no machine {request.node_id}")
            if volume.zone and volume.zone != machine.zone:
                refuse(context, "INVALID_ARGUMENT", f"{volume.id} is in {volume.zone}, {machine.id} in {machine.zone}")
            present = self._disks.read(Attachment, volume.id)
            if present is not None and present.machine != machine.id:
                self._tell("ControllerPublishVolume", volume.id, machine.id, refused=f"attached to {present.machine}")
                refuse(context, "FAILED_PRECONDITION", f"{volume.id} is attached to {present.machine}")
            if present is None:
                self._cloud.attach_volume(volume.id, machine.id)
                self._disks.write(Attachment(id=volume.id, machine=machine.id, since=time.time()))
                self._tell("ControllerPublishVolume", volume.id, machine.id)
        return csi.ControllerPublishVolumeResponse()

    def ControllerUnpublishVolume(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Detach: "busy" as long as the machine has the disk open, as a mounted EBS volume of a running instance is."""
        require(context, request, "volume_id")
        self._suffer("ControllerUnpublishVolume", context)
        with self._lock:
            present = self._disks.read(Attachment, request.volume_id)
            if present is not None and request.node_id in ("", present.machine):
                users = self._disks.open_devices(present.id)
                if users:
                    self._tell("ControllerUnpublishVolume", present.id, present.machine, refused="busy")
                    refuse(context, "ABORTED", f"{present.id} is busy on {present.machine}")
                self._cloud.detach_volume(present.id)
                self._disks.remove(present)
                self._tell("ControllerUnpublishVolume", present.id, present.machine)
        return csi.ControllerUnpublishVolumeResponse()

    def ValidateVolumeCapabilities(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Whatever a volume was made for it can do."""
        require(context, request, "volume_id", "volume_capabilities")
        if self._disks.read(Volume, request.volume_id) is None:
            refuse(context, "NOT_FOUND", f"no volume {request.volume_id}")
        kind = csi.ValidateVolumeCapabilitiesResponse
        return kind(confirmed=kind.Confirmed(volume_capabilities=request.volume_capabilities))

    def named(self, name: str) -> Volume | None:
        """The volume that was created under this name."""
        return next((volume for volume in self._disks.all(Volume) if volume.name == name), None)

    def _create(self, name: str, size_bytes: int, zone: str, parameters: Mapping[str, str]) -> Volume:
        id = self._cloud.create_volume(name, size_bytes, zone)
        descriptor = os.open(self._disks.image(id), os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.ftruncate(descriptor, size_bytes)
        finally:
            os.close(descriptor)
        speed = {"throughput_mib": int(parameters.get("throughput", 0)), "iops": int(parameters.get("iops", 0))}
        volume = Volume(id=id, name=name, size_bytes=size_bytes, zone=zone, **speed)
        self._disks.write(volume)
        self._disks.tell("CreateVolume", volume=id, zone=zone, size_bytes=size_bytes)
        return volume

    def _describe(self, volume: Volume) -> Any:
        where = {ZONE_KEY: volume.zone} if volume.zone else {REGION_KEY: self._region}
        return csi.Volume(
            volume_id=volume.id, capacity_bytes=volume.size_bytes, accessible_topology=[csi.Topology(segments=where)]
        )

    def _suffer(self, call: str, context: grpc.ServicerContext) -> None:
        """What was injected happens before anything is decided, and outside the lock."""
        fault = self._disks.fault(call)
        time.sleep(fault.get("delay_seconds", 0))
        if "error" in fault:
            self._disks.tell(call, refused=f"injected {fault['error']}")
            refuse(context, fault["error"], "injected")

    def _tell(self, call: str, volume: str, machine: str, **details: str) -> None:
        known = self._disks.read(Machine, machine)
        self._disks.tell(call, volume=volume, node=known.node if known else machine, **details)


def _zone_wanted(request: Any) -> str:
    requirement = request.accessibility_requirements
    for topology in (*requirement.preferred, *requirement.requisite):
        if ZONE_KEY in topology.segments:
            return str(topology.segments[ZONE_KEY])
    return ""
