"""What an API server answers is told apart by what it says, as seen on Kubernetes 1.34."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from automq_operator.kube import CLUSTER, ConflictError, InvalidError, KubeError
from automq_operator.platforms.kubernetes.client import KubernetesClient
from kubernetes import client

FAILED_TEST = "the server rejected our request due to an error in our request"
INVALID = 'AutoMQCluster.automq.io "orders" is invalid: status.replicas: Invalid value: "string": must be an integer'


@pytest.mark.parametrize(("message", "error"), [(FAILED_TEST, ConflictError), (INVALID, InvalidError)])
def test_a_patch_made_for_an_older_object_is_a_conflict_and_an_impossible_one_is_not(
    message: str, error: type[KubeError]
) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"kind": "Status", "code": 422, "reason": "Invalid", "message": message}).encode()
            self.send_response(422)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        api = KubernetesClient(client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}")))
        with pytest.raises(KubeError) as refused:
            asyncio.run(api.patch(CLUSTER, "shop", "orders", [{"op": "test", "path": "/metadata/uid", "value": "1"}]))
        assert type(refused.value) is error
    finally:
        server.shutdown()
        server.server_close()
