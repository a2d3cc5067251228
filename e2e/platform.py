"""Which Kubernetes the tests run on: the one that KUBECONFIG names, else kind where Docker runs, else the local cluster.

AUTOMQ_E2E_PLATFORM=local (or kind) chooses without looking. Somebody else's cluster is used gently: namespaces come and go,
its nodes are never hurt, so tests that hurt them are skipped there and say so; so it is with kind, whose volumes stay on
their nodes. The local cluster can do everything.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from e2e.aws.endpoints import ACCESS_KEY, S3, SECRET_KEY
from e2e.aws.services import FIRST_BUCKET
from e2e.build.binaries import found
from e2e.cluster import pki
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import REGION
from e2e.images import images
from e2e.kind import cluster as kind


class Ground(StrEnum):
    """Where a cluster comes from."""

    GIVEN = "given"
    KIND = "kind"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A cluster and the cloud beside it. `bucket` makes the URI of an empty prefix from its name."""

    kubectl: Kubectl
    is_ours: bool
    broker_image: str
    operator_image: str
    tools_image: str
    storage_class: str
    access_key: str
    secret_key: str
    bucket: Callable[[str], str]

    def values(self) -> dict[str, str]:
        """What every manifest may refer to."""
        names = ("broker_image", "operator_image", "tools_image", "storage_class", "access_key", "secret_key")
        return {name: getattr(self, name) for name in names}

    def bucket_fields(self, name: str) -> dict[str, str]:
        """The bucket's URI in the words of an AutoMQCluster's manifest."""
        uri = urlsplit(self.bucket(name))
        options = {key: values[0] for key, values in parse_qs(uri.query).items()}
        return {
            "bucket_name": uri.netloc,
            "bucket_prefix": uri.path.strip("/"),
            "region": options["region"],
            "endpoint": options["endpoint"],
        }


class NotTold(Exception):
    """A given cluster needs settings that are missing; the message names them."""


GIVEN = {
    "broker_image": ("AUTOMQ_E2E_BROKER_IMAGE", "the broker's image, as its nodes can pull it"),
    "operator_image": ("AUTOMQ_E2E_OPERATOR_IMAGE", "the operator's image, likewise"),
    "tools_image": ("AUTOMQ_E2E_TOOLS_IMAGE", "an image with python3, kcat and curl"),
    "storage_class": ("AUTOMQ_E2E_STORAGE_CLASS", "a storage class with WaitForFirstConsumer, as gp3"),
    "bucket": ("AUTOMQ_E2E_BUCKET", "s3://NAME/PREFIX?OPTIONS, of which the tests use a folder each"),
    "access_key": ("AWS_ACCESS_KEY_ID", "a key of that bucket"),
    "secret_key": ("AWS_SECRET_ACCESS_KEY", "its secret"),
}
"""Field -> the environment variable that says it for a given cluster, and what it is."""


def chosen() -> Ground:
    """What this run uses. Raises ValueError when AUTOMQ_E2E_PLATFORM names nothing that is there to choose."""
    if wanted := os.environ.get("AUTOMQ_E2E_PLATFORM"):
        return Ground(wanted)
    if os.environ.get("KUBECONFIG"):
        return Ground.GIVEN
    return Ground.KIND if kind.can_run() else Ground.LOCAL


def given() -> Platform:
    """The cluster of KUBECONFIG. Raises NotTold."""
    missing = [f"{name} ({what})" for name, what in GIVEN.values() if not os.environ.get(name)]
    if missing:
        raise NotTold("KUBECONFIG is set, so its cluster is used; set also " + ", ".join(missing))
    told = {field: os.environ[name] for field, (name, _) in GIVEN.items()}
    uri, _, options = told.pop("bucket").partition("?")
    return Platform(
        kubectl=Kubectl(os.environ["KUBECONFIG"], program=found("kubectl")),
        is_ours=False,
        bucket=lambda name: f"{uri.rstrip('/')}/{name}?{options}",
        **told,
    )


def on_kind() -> Platform:
    """The cluster of kind, which must be up."""
    return Platform(
        kubectl=kind.kubectl(),
        is_ours=False,
        broker_image=kind.broker_image(),
        operator_image=kind.operator_image(),
        tools_image=kind.tools_image(),
        storage_class=kind.STORAGE_CLASS,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        bucket=lambda name: f"s3://{kind.BUCKET}/{name}?endpoint={kind.S3}&region={REGION}&pathStyle=true",
    )


def ours() -> Platform:
    """The local cluster, which must be up."""
    return Platform(
        kubectl=Kubectl(pki.kubeconfig("admin")),
        is_ours=True,
        broker_image=images.broker().name,
        operator_image=images.operator().name,
        tools_image=images.tools().name,
        storage_class="gp3",
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        bucket=lambda name: f"s3://{FIRST_BUCKET}/{name}?endpoint={S3}&region={REGION}&pathStyle=true",
    )
