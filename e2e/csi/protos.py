"""The messages of CSI, generated from the specification's own file, which comes with the Go module of the attacher."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from e2e.build.binaries import HERE as GO_MODULES
from e2e.build.cache import building, digest
from e2e.paths import CACHE

HERE = Path(__file__).resolve().parent
_OWN = HERE / "registration.proto"
_SPEC = "github.com/container-storage-interface/spec"


def generate() -> Path:
    """The folder of the generated modules; made when it is missing."""
    target = CACHE / "protos" / digest(HERE, [_OWN], (GO_MODULES / "attacher" / "go.mod").read_text())
    with building(target, "the messages of CSI") as unfinished:
        if unfinished:
            _generate(unfinished)
    return target


def _generate(out: Path) -> None:
    from grpc_tools import protoc  # noqa: PLC0415 - only whoever generates needs the compiler

    attacher = GO_MODULES / "attacher"
    subprocess.run(["go", "mod", "download", _SPEC], cwd=attacher, check=True)
    listed = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", _SPEC], cwd=attacher, check=True, capture_output=True, text=True
    )
    shutil.copy(Path(listed.stdout.strip()) / "csi.proto", out)
    shutil.copy(_OWN, out)
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = [f"-I{out}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if protoc.main(["protoc", *arguments, "csi.proto", "registration.proto"]):
        raise RuntimeError("protoc failed; its message is above")


def _load(name: str) -> Any:
    folder = str(generate())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


csi: Any = _load("csi_pb2")
csi_grpc: Any = _load("csi_pb2_grpc")
registration: Any = _load("registration_pb2")
registration_grpc: Any = _load("registration_pb2_grpc")
