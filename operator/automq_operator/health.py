"""/healthz and /metrics of the operator, on a thread of their own: a loop that hangs must still be seen to hang."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import generate_latest

from automq_operator.report.metrics import REGISTRY


def serve(port: int, why_unhealthy: Callable[[], str | None]) -> ThreadingHTTPServer:
    """Starts at once; `shutdown` ends it."""

    class Pages(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, generate_latest(REGISTRY))
            elif self.path == "/healthz":
                reason = why_unhealthy()
                self._answer(200 if reason is None else 503, (reason or "ok").encode())
            else:
                self._answer(404, b"there are /healthz and /metrics")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are no news."""

    server = ThreadingHTTPServer(("", port), Pages)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


__all__ = ["serve"]
