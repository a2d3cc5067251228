"""EC2's books about disks: what the CSI controller tells them."""

from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from e2e.aws.endpoints import EC2, client

DEVICE = "/dev/sd{letter}"
GIB = 1 << 30


class Ec2Volumes:
    """A `Cloud` of the CSI controller: volumes and attachments appear in EC2 as the driver makes them."""

    def __init__(self, endpoint: str) -> None:
        self._ec2 = client("ec2", endpoint)

    def create_volume(self, name: str, size_bytes: int, zone: str) -> str:
        """A gp3 volume; EC2 knows whole GiB only."""
        tags = [{"Key": "CSIVolumeName", "Value": name}]
        volume: str = self._ec2.create_volume(
            AvailabilityZone=zone,
            Size=-(-size_bytes // GIB),
            VolumeType="gp3",
            TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
        )["VolumeId"]
        return volume

    def delete_volume(self, id: str) -> None:
        """It is no more."""
        self._ec2.delete_volume(VolumeId=id)

    def attach_volume(self, id: str, machine: str) -> None:
        """Attached there, under the first device name that is free."""
        taken = {one["Device"] for volume in self._attached_to(machine) for one in volume["Attachments"]}
        device = next(name for letter in "fghijklmnopqrstuvwxyz" if (name := DEVICE.format(letter=letter)) not in taken)
        self._ec2.attach_volume(VolumeId=id, InstanceId=machine, Device=device)

    def detach_volume(self, id: str) -> None:
        """Attached nowhere; one that went with its terminated instance is detached already."""
        for attachment in self._ec2.describe_volumes(VolumeIds=[id])["Volumes"][0]["Attachments"]:
            with suppress(ClientError):
                self._ec2.detach_volume(VolumeId=id, InstanceId=attachment["InstanceId"])

    def _attached_to(self, machine: str) -> Any:
        filters = [{"Name": "attachment.instance-id", "Values": [machine]}]
        return self._ec2.describe_volumes(Filters=filters)["Volumes"]


def machine_of(volume: str) -> str | None:
    """The instance that the disk is attached to, as EC2 says; None if to none."""
    attachments = client("ec2", EC2).describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
    return str(attachments[0]["InstanceId"]) if attachments else None
