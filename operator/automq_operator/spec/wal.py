"""The write-ahead logs: volumes, or a bucket."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.parts import ObjectName, Part, ruled
from automq_operator.spec.storage import Bucket


class WalRetain(Part):
    """What happens to volumes that no broker uses any more."""

    when_scaled: Literal["DeleteWhenClean", "Retain"] = "DeleteWhenClean"
    """After a scale-in. DeleteWhenClean: deleted once the metadata say that everything in it is in the bucket."""


class Wal(Part):
    """The write-ahead log, one per broker: what was acknowledged lies there until it is in the bucket."""

    type: Literal["EBS", "S3"] = "EBS"
    """EBS: a network volume that one node at a time attaches (CSI, ReadWriteOncePod), and that survives its node. S3: no
    volume at all; brokers run anywhere and any zone stands in for any other, and an acknowledgement takes a PUT, some
    hundred milliseconds."""
    s3: Bucket | None = None
    """With type S3: a bucket for the logs alone, for example a faster one, reached with the same credentials; unset: that of
    storage.s3."""
    storage_class_name: ObjectName | None = None
    """StorageClass of the volumes; unset: the cluster's default. Its volumeBindingMode should be WaitForFirstConsumer."""
    size: Annotated[str, Field(pattern=r"^[1-9][0-9]*(Gi|Ti)$")] = "10Gi"
    """Size of each volume; it may only grow, and the StorageClass must allow expansion for that. With type S3: what may
    wait for its upload."""
    volume_mode: Literal["Filesystem", "Block"] = "Filesystem"
    """Block: a raw device, experimental: the container runtime must have device_ownership_from_security_context on."""
    iops: Annotated[int, Field(ge=100, le=256000)] = 3000
    """Writes per second that the volume sustains; brokers stay below. gp3 has 3000 without extra cost."""
    throughput: Annotated[int, Field(ge=1, le=4000)] = 125
    """MiB per second that the volume sustains; brokers stay below. gp3 has 125 without extra cost."""
    retain: WalRetain = WalRetain()
    """What happens to volumes that no broker uses any more."""

    model_config = ruled(
        ("self.type == oldSelf.type", "wal.type cannot be changed"),
        (
            "self.type != 'S3' || (!has(self.storageClassName) && self.volumeMode == 'Filesystem' && "
            "self.iops == 3000 && self.throughput == 125 && self.retain.whenScaled == 'DeleteWhenClean')",
            "with wal.type S3 there is no volume: storageClassName, volumeMode, iops, throughput and retain mean nothing",
        ),
        ("self.type == 'S3' || !has(self.s3)", "wal.s3 needs wal.type S3"),
        (
            "has(self.s3) == has(oldSelf.s3) && (!has(self.s3) || "
            "(self.s3.bucket == oldSelf.s3.bucket && self.s3.prefix == oldSelf.s3.prefix))",
            "wal.s3 cannot be moved: what waits for its upload would stay behind",
        ),
        ("self.volumeMode == oldSelf.volumeMode", "wal.volumeMode cannot be changed"),
        (
            "has(self.storageClassName) == has(oldSelf.storageClassName) && "
            "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
            "wal.storageClassName cannot be changed",
        ),
        (
            "!quantity(self.size).isLessThan(quantity(oldSelf.size))",
            "wal.size may only grow",
        ),
    )


__all__ = ["Wal", "WalRetain"]
