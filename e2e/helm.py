"""Helm, as users run it: charts installed, upgraded and uninstalled in one namespace, every call with a limit of time."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from e2e.build.binaries import binary
from e2e.cluster.kubectl import Kubectl
from e2e.paths import ROOT
from e2e.platform import Platform

OPERATOR = ROOT / "charts" / "automq-operator"
CLUSTER = ROOT / "charts" / "automq-cluster"
PREVIOUS = ROOT / "tests" / "charts" / "golden" / "automq-operator-0.1.0.tgz"
CALL_SECONDS = 180.0

Values = dict[str, Any]


class HelmError(Exception):
    """Helm refused or ran out of time; the message is what it said."""


class Helm:
    """Helm with the kubeconfig and namespace of a kubectl."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._options = [f"--kubeconfig={kubectl.kubeconfig}", f"--namespace={kubectl.namespace}"]

    def put(self, release: str, chart: Path, values: Values) -> None:
        """Install or upgrade, and wait until its pods are ready.

        A definition that an earlier run left behind belongs to that run's release: it is taken over.
        """
        self.run(
            "upgrade", release, str(chart), "--install", "--wait", "--timeout=120s", "--take-ownership", "--values=-",
            stdin=json.dumps(values),
        )  # fmt: skip

    def uninstall(self, release: str) -> None:
        """Raises HelmError when the chart itself refuses."""
        self.run("uninstall", release, "--wait", "--timeout=120s")

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Its standard output. Raises HelmError."""
        environment = {name: each for name, each in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            [str(binary("helm")), *self._options, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            env=environment,
            check=False,
        )
        if done.returncode:
            raise HelmError(f"helm {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def operator_values(platform: Platform, namespace: str) -> Values:
    """The chart's values for one namespace and the images of this run."""
    repository, _, tag = platform.operator_image.rpartition(":")
    brokers, _, brokers_tag = platform.broker_image.rpartition(":")
    return {
        "fullnameOverride": "automq-operator",
        "image": {"repository": repository, "tag": tag},
        "brokerImage": {"repository": brokers, "tag": brokers_tag},
        "watchNamespaces": [namespace],
    }
