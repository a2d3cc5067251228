"""Helm and promtool, found or told how to bring; charts rendered as Helm renders them."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CHARTS = ROOT / "charts"
OPERATOR = CHARTS / "automq-operator"
CLUSTER = CHARTS / "automq-cluster"
KUBERNETES = "1.34.4"
_CACHE = Path(os.environ.get("AUTOMQ_E2E_CACHE") or Path.home() / ".cache" / "automq-e2e")

Object = dict[str, Any]


def helm() -> str:
    """The program on the PATH, else the one that `python -m e2e.build helm` left; the test is skipped without (CI: fails)."""
    built = sorted(_CACHE.glob("bin/helm-*/helm"), key=lambda each: each.stat().st_mtime)
    found = shutil.which("helm") or (str(built[-1]) if built else "")
    return found or _missing("helm", "python -m e2e.build helm (needs Go)")


def promtool() -> str:
    """Likewise, from Debian's prometheus."""
    return shutil.which("promtool") or _missing("promtool", "apt-get install prometheus")


def _missing(program: str, command: str) -> str:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing: {command}")
    pytest.skip(f"{program} is missing: {command}")


def run(*arguments: str, text: str | None = None) -> str:
    """Its output. Raises RenderError with what it complained about."""
    done = subprocess.run(arguments, capture_output=True, text=True, input=text, stdin=None, timeout=60, check=False)
    if done.returncode:
        raise RenderError(done.stderr + done.stdout)
    return done.stdout


class RenderError(Exception):
    """What the program said."""


def render(chart: Path, values: Mapping[str, Any] | None = None, *, release: str = "", namespace: str = "kafka") -> str:
    """`helm template` with values as a user's file has them."""
    name = release or ("orders" if chart == CLUSTER else "automq")
    command = [helm(), "template", name, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES]
    return run(*command, "--values", "-", text=json.dumps(dict(values or {})))


def objects(chart: Path, values: Mapping[str, Any] | None = None, **options: Any) -> list[Object]:
    """What is rendered, in order."""
    return [each for each in yaml.safe_load_all(render(chart, values, **options)) if each]


def one(found: list[Object], kind: str, part: str = "") -> Object:
    """The only object of a kind whose name has this part."""
    (only,) = [each for each in found if each["kind"] == kind and part in each["metadata"]["name"]]
    return only


def nested(path: str, value: Any) -> Object:
    """{"a": {"b": value}} from "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value  # type: ignore[no-any-return]


def leaves(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Every value that a user may set, by its path; maps that are empty or of texts count as one."""
    found: dict[str, Any] = {}
    for key, each in values.items():
        name = f"{path}.{key}" if path else key
        is_group = isinstance(each, dict) and each and key not in ("labels", "resources", "securityContext")
        if is_group and key != "podSecurityContext":
            found |= leaves(each, name)
        else:
            found[name] = each
    return found
