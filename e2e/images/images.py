"""The images of a run, each built once for what it is made of."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.build.cache import building, digest
from e2e.cluster.node_files import PAUSE_IMAGE
from e2e.images import buildah
from e2e.paths import CACHE, ROOT
from e2e.progress import say, step

HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
PYTHON_VERSION = "3.11"
"""The suite's own."""
MIRROR = "http://deb.debian.org/debian"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
TOOLS_PACKAGES = ("kcat", "curl", "procps", "iproute2")
CACHE_OF_IMAGES = CACHE / "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image by its name in manifests, and the archive that nodes import."""

    name: str
    archive: Path


def all_images() -> list[Image]:
    """Everything that pods of the tests need; builds what is missing."""
    return [pause(), tools(), broker(), operator()]


def pause() -> Image:
    """What holds the namespaces of every pod."""
    image = _image("pause", PAUSE_IMAGE.rpartition(":")[2], digest(HERE, [HERE / "pause" / "pause.c"]))
    with building(image.archive.parent, "the pause image") as folder:
        if folder:
            root = folder / "root"
            root.mkdir()
            subprocess.run(
                ["gcc", "-static", "-Os", "-s", "-o", root / "pause", HERE / "pause" / "pause.c"], check=True
            )
            buildah.from_folder(root, image.name, configuration=["--entrypoint", '["/pause"]'])
            buildah.save(image.name, folder / image.archive.name)
            shutil.rmtree(root)
    return image


def tools() -> Image:
    """The base with kcat and a few things to look around with: for pods of the tests themselves."""
    packages = (*BASE_PACKAGES, *TOOLS_PACKAGES)
    image = _image("tools", _digest_of_base(packages))
    with building(image.archive.parent, "the image of the tests' tools") as folder:
        if folder:
            _debian(folder / "root", image.name, packages)
            buildah.save(image.name, folder / image.archive.name)
    return image


def broker() -> Image:
    """Dockerfile.broker, as it is."""
    return _from_dockerfile("broker")


def operator() -> Image:
    """Dockerfile.operator, as it is."""
    return _from_dockerfile("operator")


def described(name: str) -> Image:
    """The image of Dockerfile.NAME, whether it is built or not."""
    content = [ROOT / file for file in (f"Dockerfile.{name}", "pyproject.toml", "README.md", "LICENSE")]
    content += [path for part in ("broker", "operator") for path in (ROOT / part).rglob("*") if _is_source(path)]
    return _image(name, digest(ROOT, content, _digest_of_base(BASE_PACKAGES)))


def _from_dockerfile(name: str) -> Image:
    dockerfile, image = ROOT / f"Dockerfile.{name}", described(name)
    with building(image.archive.parent, f"the {name}'s image from {dockerfile.name}") as folder:
        if folder:
            options = [f"--build-arg=BASE_IMAGE={_base()}", f"--volume={wheels(name)}:/wheels:ro"]
            offline = ["--build-arg=PIP_NO_INDEX=1", "--build-arg=PIP_FIND_LINKS=/wheels"]
            say(buildah.buildah("build", *options, *offline, "--file", dockerfile, "--tag", image.name, ROOT))
            buildah.save(image.name, folder / image.archive.name)
            buildah.buildah("rmi", image.name)
    return image


def wheels(extra: str) -> Path:
    """What pip needs to install the project with that extra, downloaded: the build itself has no network."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"][extra],
    ]
    target = CACHE / "wheels" / digest(ROOT, [], PYTHON_VERSION, *wanted)
    with building(target, f"the {extra}'s wheels") as folder:
        if folder:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={folder}"]
            subprocess.run([*pip, f"--python-version={PYTHON_VERSION}", *wanted], check=True)
    return target


def _base() -> str:
    """The base image's name in buildah's storage: Debian with Python, as slim as its packages allow."""
    name = f"automq.e2e/base:{_digest_of_base(BASE_PACKAGES)}"
    if not buildah.has(name):
        with step("building the base image"), TemporaryDirectory(dir=CACHE) as folder:
            _debian(Path(folder) / "root", name, BASE_PACKAGES)
    return name


def _debian(root: Path, name: str, packages: tuple[str, ...]) -> None:
    """A root from Debian's packages becomes an image; the root is removed."""
    include = f"--include={','.join(packages)}"
    subprocess.run(
        ["debootstrap", "--variant=minbase", include, SUITE, root, _mirror()], check=True, stdout=subprocess.DEVNULL
    )
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "dev"):
        shutil.rmtree(root / waste, ignore_errors=True)
        (root / waste).mkdir(parents=True, exist_ok=True)
    (root / "usr/bin/python").symlink_to("python3")
    buildah.from_folder(root, name, configuration=["--cmd", "python", "--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
    shutil.rmtree(root)


def _image(name: str, *tags: str) -> Image:
    """Named by its first tag, cached by all of them."""
    folder = CACHE_OF_IMAGES / "-".join((name, *tags))
    return Image(name=f"automq.e2e/{name}:{tags[0]}", archive=folder / f"{name}.tar")


def _digest_of_base(packages: tuple[str, ...]) -> str:
    return digest(HERE, [], SUITE, *packages)


def _mirror() -> str:
    return os.environ.get("AUTOMQ_E2E_DEBIAN_MIRROR") or MIRROR


def _is_source(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts
