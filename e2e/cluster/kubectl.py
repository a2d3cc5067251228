"""kubectl, as tests and the cluster itself use it: objects in and out as JSON, every call with a limit of time."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from e2e.build.binaries import binary
from e2e.cluster.waiting import TooLate

Manifest = Mapping[str, Any]

CALL_SECONDS = 30.0


class KubectlError(Exception):
    """kubectl refused or ran out of time; the message holds the command and what it said."""


class Kubectl:
    """kubectl with one kubeconfig and, if given, one namespace. `program` is the local cluster's own by default."""

    def __init__(self, kubeconfig: Path | str, namespace: str | None = None, program: Path | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace
        self._program = program

    def within(self, namespace: str) -> "Kubectl":
        """The same for another namespace."""
        return Kubectl(self.kubeconfig, namespace, self._program)

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = CALL_SECONDS) -> str:
        """Its standard output. Raises KubectlError."""
        command = [
            str(self._program or binary("kubectl")),
            f"--kubeconfig={self.kubeconfig}",
            f"--request-timeout={seconds:.0f}s",
        ]
        if self.namespace:
            command.append(f"--namespace={self.namespace}")
        try:
            # A frozen kubelet leaves logs and exec hanging whatever kubectl's own limit says.
            done = subprocess.run(
                [*command, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=seconds + 5,
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {' '.join(arguments)}: no answer after {seconds + 5:.0f} s") from error
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, *manifests: Manifest | str) -> None:
        """Create or change these objects: dictionaries, or YAML text."""
        for text in (one if isinstance(one, str) else json.dumps(one) for one in manifests):
            self.run("apply", "-f", "-", stdin=text)

    def patch(self, kind: str, name: str, change: Manifest) -> None:
        """Merge this into the object. Raises KubectlError, with the API server's reasons where it refuses."""
        self.run("patch", kind, name, "--type=merge", f"--patch={json.dumps(change)}")

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises KubectlError when it is not there."""
        found: dict[str, Any] = json.loads(self.run("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None when it is not there."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def list(self, kind: str, *selection: str) -> list[dict[str, Any]]:
        """All objects of that kind; `selection` are more options, as `-l app=x` or `-A`."""
        items: list[dict[str, Any]] = json.loads(self.run("get", kind, "-o", "json", *selection))["items"]
        return items

    def wait(self, target: str, condition: str, *, seconds: float) -> None:
        """Block until the object has the condition (kubectl wait's --for). Raises TooLate, KubectlError."""
        try:
            self.run("wait", target, f"--for={condition}", f"--timeout={seconds:.1f}s", seconds=seconds + 10)
        except KubectlError as error:
            if "timed out waiting" not in str(error):
                raise
            raise TooLate(str(error)) from error

    def execute(self, pod: str, command: Sequence[str], *, container: str | None = None, seconds: float = 30.0) -> str:
        """Run a command in a pod; its standard output."""
        chosen = [f"--container={container}"] if container else []
        return self.run("exec", pod, *chosen, "--", *command, seconds=seconds)

    def is_ready(self) -> bool:
        """Whether the API server calls itself ready."""
        return self._succeeds("get", "--raw", "/readyz", seconds=5.0)

    def has(self, kind: str, name: str, namespace: str) -> bool:
        """Whether that object can be read right now."""
        return self.within(namespace)._succeeds("get", kind, name, seconds=5.0)

    def _succeeds(self, *arguments: str, seconds: float) -> bool:
        try:
            self.run(*arguments, seconds=seconds)
        except KubectlError:
            return False
        return True


def _environment() -> dict[str, str]:
    """Ours without KUBECONFIG, which the option replaces, and without a proxy that knows nothing of our networks."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and name != "KUBECONFIG"
    }
