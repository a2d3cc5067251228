"""Where the data live."""

from typing import Annotated

from pydantic import Field

from automq_operator.spec.parts import BUCKET, ENDPOINT, KEY, PREFIX, ObjectName, Part, ruled


class SecretKey(Part):
    """A key of a Secret in the resource's namespace."""

    name: ObjectName
    """The Secret."""
    key: Annotated[str, Field(pattern=KEY, max_length=253)] = "credentials"
    """Its key."""


class Bucket(Part):
    """A bucket of a service that speaks S3."""

    bucket: Annotated[str, Field(pattern=BUCKET)]
    """Its name."""
    prefix: Annotated[str, Field(pattern=PREFIX, max_length=512)] = ""
    """Everything lies below this prefix; one bucket and prefix belongs to one cluster."""
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    """Region of the bucket; unset: AWS_REGION of the pods."""
    endpoint: Annotated[str, Field(pattern=ENDPOINT, max_length=512)] | None = None
    """URL of an S3-compatible service with conditional writes; unset: AWS."""
    path_style: bool = False
    """The bucket's name stands in the path and not in the host name; many S3-compatible services need it."""


class S3(Bucket):
    """The bucket that holds everything."""

    credentials_secret: SecretKey | None = None
    """A file in the format of AWS's shared credentials, mounted into the pods. Unset: the pods' own identity (IRSA, EKS
    Pod Identity, the node's role)."""

    model_config = ruled(
        ("self.bucket == oldSelf.bucket", "storage.s3.bucket cannot be changed: the data would stay behind"),
        ("self.prefix == oldSelf.prefix", "storage.s3.prefix cannot be changed: the data would stay behind"),
    )


class Storage(Part):
    """Where the data live."""

    s3: S3


__all__ = ["S3", "Bucket", "SecretKey", "Storage"]
