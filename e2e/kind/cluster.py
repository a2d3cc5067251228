"""The cluster, its images and its S3, all by name: what is there is used again."""

import shutil
import subprocess
from pathlib import Path
from string import Template

from e2e.aws.endpoints import ACCESS_KEY, SECRET_KEY
from e2e.build.binaries import found
from e2e.build.cache import digest
from e2e.cluster.kubectl import Kubectl
from e2e.images.images import described
from e2e.paths import CACHE, ROOT
from e2e.progress import step

HERE = Path(__file__).resolve().parent
NAME = "automq-e2e"
KUBECONFIG = CACHE / "kind" / "kubeconfig"
STORAGE_CLASS = "standard"
S3 = "http://s3.s3.svc.cluster.local:8333"
BUCKET = "e2e"
READY_SECONDS = 180.0


def can_run() -> bool:
    """Whether a Docker engine answers; its client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "version", "--format={{.Server.Version}}"], capture_output=True, check=False)
    return asked.returncode == 0


def is_up() -> bool:
    """Whether the cluster is there."""
    listed = subprocess.run([found("kind"), "get", "clusters"], check=True, capture_output=True, text=True)
    return NAME in listed.stdout.split()


def kubectl() -> Kubectl:
    """For the whole cluster."""
    return Kubectl(KUBECONFIG, program=found("kubectl"))


def up() -> None:
    """Make what is missing: the cluster, today's images on its nodes, an S3 server with an empty bucket."""
    KUBECONFIG.parent.mkdir(parents=True, exist_ok=True)
    if is_up():
        _kind("export", "kubeconfig", f"--kubeconfig={KUBECONFIG}")
    else:
        with step("kind makes a cluster of five containers"):
            config = HERE / "manifests" / "cluster.yaml"
            _kind(
                "create", "cluster", f"--config={config}", f"--kubeconfig={KUBECONFIG}", f"--wait={READY_SECONDS:.0f}s"
            )
    for name, dockerfile, context in _images():
        _build(name, dockerfile, context)
        with step(f"loading {name}"):
            _kind("load", "docker-image", name)
    _start_s3()


def down() -> None:
    """The cluster goes with everything in it; the images stay in Docker's storage."""
    _kind("delete", "cluster", f"--kubeconfig={KUBECONFIG}")


def broker_image() -> str:
    """Its name holds the hash of what it is made from, so a changed source is another image."""
    return described("broker").name


def operator_image() -> str:
    """Likewise."""
    return described("operator").name


def tools_image() -> str:
    """Likewise."""
    return f"automq.e2e/tools:{digest(HERE, [HERE / 'Dockerfile.tools'])}"


def _images() -> list[tuple[str, Path, Path]]:
    """Name, Dockerfile, context."""
    return [
        (broker_image(), ROOT / "Dockerfile.broker", ROOT),
        (operator_image(), ROOT / "Dockerfile.operator", ROOT),
        (tools_image(), HERE / "Dockerfile.tools", HERE),
    ]


def _build(name: str, dockerfile: Path, context: Path) -> None:
    known = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)
    if known.returncode:
        with step(f"building {name}"):
            subprocess.run(["docker", "build", "--file", dockerfile, "--tag", name, context], check=True)


def _start_s3() -> None:
    values = {"tools_image": tools_image(), "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    kubectl().apply(Template((HERE / "manifests" / "s3.yaml").read_text()).substitute(values))
    inside = kubectl().within("s3")
    inside.wait("deployment/s3", "condition=Available", seconds=READY_SECONDS)
    shell = "weed shell -master=127.0.0.1:9333"
    make = f"echo s3.bucket.list | {shell} | grep -qw {BUCKET} || echo 's3.bucket.create -name {BUCKET}' | {shell}"
    inside.execute("deployment/s3", ["sh", "-c", make], seconds=60)


def _kind(*arguments: str) -> None:
    subprocess.run([found("kind"), *arguments, f"--name={NAME}"], check=True)
