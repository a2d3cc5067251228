"""Programs from the Go modules in this folder, cached by a hash of everything that they are made from."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from e2e.build.cache import building, digest
from e2e.paths import CACHE
from e2e.progress import say

HERE = Path(__file__).resolve().parent
KUBERNETES_VERSION = "1.34.4"
_VERSION = "k8s.io/component-base/version"
_KUBERNETES_LDFLAGS = (
    f"-X {_VERSION}.gitVersion=v{KUBERNETES_VERSION} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A go.mod of this folder: the packages to build, by the name of the program that each becomes."""

    name: str
    programs: dict[str, str] = field(hash=False)
    ldflags: str = ""

    def digest(self) -> str:
        """Changes with every input of the build: module files, sources, flags, Go's version."""
        folder = HERE / self.name
        return digest(folder, folder.iterdir(), go_version(), self.ldflags, str(sorted(self.programs.items())))

    def folder(self) -> Path:
        """Where its programs lie once they are built."""
        return CACHE / "bin" / f"{self.name}-{self.digest()}"


MODULES = (
    Module(
        name="kube",
        programs={
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        ldflags=_KUBERNETES_LDFLAGS,
    ),
    Module(name="etcd", programs={"etcd": "."}),
    Module(name="coredns", programs={"coredns": "."}),
    Module(
        name="attacher", programs={"csi-attacher": "github.com/kubernetes-csi/external-attacher/v4/cmd/csi-attacher"}
    ),
    Module(name="helm", programs={"helm": "helm.sh/helm/v3/cmd/helm"}),
    Module(name="kind", programs={"kind": "sigs.k8s.io/kind"}),
    Module(name="sanity", programs={"csi-sanity": "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"}),
)


@cache
def binary(name: str) -> Path:
    """The program of that name; its module is built first if it was not, or if what it is made from has changed."""
    module = next(module for module in MODULES if name in module.programs)
    _build(module)
    return module.folder() / name


def found(name: str) -> Path:
    """The machine's own program of that name, else ours: for clusters that are not built here."""
    own = shutil.which(name)
    return Path(own) if own else binary(name)


def build_all() -> None:
    """Every program of the local cluster; what the compiler kept for itself (5 GB) is let go at the end."""
    for module in MODULES:
        if module.name != "kind":
            _build(module)
    shutil.rmtree(CACHE / "go-build", ignore_errors=True)


@cache
def go_version() -> str:
    """Go's version and platform. Raises FileNotFoundError when there is no Go."""
    return subprocess.run(["go", "version"], check=True, capture_output=True, text=True).stdout.strip()


def _build(module: Module) -> None:
    with building(module.folder(), f"{', '.join(module.programs)} (minutes, the first time)") as unfinished:
        if unfinished:
            for name, package in module.programs.items():
                _go_build(module, package, unfinished / name)


def _go_build(module: Module, package: str, out: Path) -> None:
    say(f"go build {package if package != '.' else module.name}")
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOCACHE": str(CACHE / "go-build"),
    }
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", f"-s -w {module.ldflags}", "-o", out, package],
        cwd=HERE / module.name,
        env=environment,
        check=True,
    )
