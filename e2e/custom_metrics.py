"""Kubernetes' custom metrics API with one metric, `utilisation` of an AutoMQCluster: what an adapter of one's monitoring is.

The API server hands questions on to it (an APIService), the controller manager's own HPA asks them. It answers what the
resource's status says, in percent of the network's baseline.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from e2e.cluster import pki
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import MACHINE_IP
from e2e.paths import PKI

GROUP_VERSION = "custom.metrics.k8s.io/v1beta2"
RESOURCE = "automqclusters.automq.io"
METRIC = "utilisation"
PORT = 8446
MANIFEST = Path(__file__).resolve().parent / "manifests" / "custom_metrics.yaml"


@contextmanager
def custom_metrics(kubectl: Kubectl) -> Iterator[None]:
    """It is served, by this process, and the API server knows of it. Raises TooLate."""
    system = kubectl.within("kube-system")
    server = ThreadingHTTPServer((MACHINE_IP, PORT), _pages(kubectl))
    pki.Authority("custom-metrics")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PKI / "custom-metrics.crt", PKI / "custom-metrics.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        system.apply(MANIFEST.read_text())
        system.wait("apiservice/v1beta2.custom.metrics.k8s.io", "condition=Available", seconds=30)
        yield
    finally:
        system.run("delete", "-f", str(MANIFEST), "--ignore-not-found")
        server.shutdown()
        server.server_close()


def _pages(kubectl: Kubectl) -> type[BaseHTTPRequestHandler]:
    class Pages(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            answer = _answer(self.path.partition("?")[0], kubectl)
            body = json.dumps(answer or {}).encode()
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Questions are no news."""

    return Pages


def _answer(path: str, kubectl: Kubectl) -> dict[str, Any] | None:
    """None for what there is not. Source: k8s.io/metrics, pkg/apis/custom_metrics/v1beta2."""
    match path.removeprefix(f"/apis/{GROUP_VERSION}").strip("/").split("/"):
        case [""]:
            metric = {"name": f"{RESOURCE}/{METRIC}", "singularName": "", "namespaced": True, "verbs": ["get"]}
            resources = [metric | {"kind": "MetricValueList"}]
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": GROUP_VERSION,
                "resources": resources,
            }
        case ["namespaces", namespace, resource, name, metric] if (resource, metric) == (RESOURCE, METRIC):
            return _values(kubectl.within(namespace), name)
    return None


def _values(kubectl: Kubectl, name: str) -> dict[str, Any] | None:
    found = kubectl.find("amq", name) or {}
    percent = found.get("status", {}).get("scaling", {}).get("utilisationPercent")
    if percent is None:
        return None
    value = {
        "describedObject": {key: found[key] for key in ("kind", "apiVersion")}
        | {key: found["metadata"][key] for key in ("name", "namespace")},
        "metric": {"name": METRIC},
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "value": str(percent),
    }
    return {"kind": "MetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": [value]}
