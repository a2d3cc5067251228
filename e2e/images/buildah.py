"""buildah, with its own storage in the cache and without a daemon, a registry or a user namespace."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.paths import CACHE

STORAGE = CACHE / "buildah"


def buildah(*arguments: str | Path) -> str:
    """Run it; its standard output. What it says about its steps goes to standard error. Raises CalledProcessError."""
    options = ["--root", STORAGE / "root", "--runroot", STORAGE / "run", "--storage-driver", "overlay"]
    done = subprocess.run(
        list(map(str, ["buildah", *options, *arguments])),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
    )
    return done.stdout.strip()


def from_folder(folder: Path, name: str, *, configuration: Sequence[str]) -> None:
    """An image of one layer: the folder as its root."""
    container = buildah("from", "scratch")
    try:
        buildah("add", "--quiet", container, folder, "/")
        buildah("config", *configuration, container)
        buildah("commit", "--quiet", container, name)
    finally:
        buildah("rm", container)


def save(name: str, archive: Path) -> None:
    """Write the image as an archive that containerd imports."""
    buildah("push", "--quiet", name, f"docker-archive:{archive}:{name}")


def has(name: str) -> bool:
    """Whether the storage holds that image."""
    return name in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()
