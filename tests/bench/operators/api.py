"""The Kubernetes API over HTTP, as far as an operator and kopf ask: real watches, paths and bodies; and the brokers' pages.

It counts what it is asked, by what that costs a real API server: reads, watches, reviews of rights, renewals of the Lease,
and all other writes.
"""

import json
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from automq_broker.contract import admin, metrics
from automq_operator import kube, names
from automq_operator.kube import KINDS, ConflictError, Kind, KubeError, NotFoundError, Object
from twins.kube_api import KubeTwin
from twins.kube_world import Brokers

_ABSENT = (kube.POD_MONITOR, kube.CERTIFICATE)
_KINDS = {(each.api_version, each.plural): each for each in KINDS.values() if each not in _ABSENT}
_MAKES = {"POST": "create", "PUT": "replace"}
_PARTITIONS = 200
"""So many rows of a broker's figures are about partitions and groups."""
_OTHERS = "".join(f'{each.name}{{label="{row}"}} 1234.5\n' for each in metrics.METRICS for row in range(3))
_OTHERS += "".join(
    f'automq_partition_end_offset{{topic="orders",partition="{row}"}} 1234567\n' for row in range(_PARTITIONS)
)
_FIGURES = _OTHERS + "".join(
    f"{name} {value}\n"
    for name, value in (
        (f'{metrics.NETWORK_BYTES.name}{{direction="in"}}', 1e9),
        (f'{metrics.NETWORK_BYTES.name}{{direction="out"}}', 1e9),
        (metrics.WAL_USED.name, 0),
        (metrics.WAL_CAPACITY.name, 1e9),
    )
)


class Served(KubeTwin):
    """A twin that remembers what changed, for watches that go on from a version."""

    def start(self) -> None:
        """From now on changes are remembered."""
        self.lock = threading.Condition()
        self.changes: list[tuple[int, Object]] = []

    def put(self, obj: Object) -> Object:
        """See KubeTwin."""
        stored = super().put(obj)
        self.changes.append((int(stored["metadata"]["resourceVersion"]), stored))
        self.lock.notify_all()
        return stored

    def answer(self, call: Coroutine[Any, Any, Any]) -> Any:
        """A call of the twin's; none of them waits for anything."""
        with self.lock:
            try:
                call.send(None)
            except StopIteration as done:
                return done.value
        raise AssertionError("a call that waits")


@dataclass(slots=True)
class Counts:
    """Questions by what they cost."""

    by_cost: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Asked:
    """A path taken apart."""

    kind: Kind
    namespace: str
    name: str
    part: str


def asked(path: str) -> Asked | None:
    """None for what is no object or list of a kind that is there."""
    words = path.strip("/").split("/")
    length = 3 if words[0] == "apis" else 2
    version, rest = "/".join(words[1:length]), words[length:]
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    kind = _KINDS.get((version, rest[0])) if rest else None
    return Asked(kind, namespace, *[*rest[1:3], "", ""][:2]) if kind is not None else None


class KubePages(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    api: ClassVar[Served]
    counts: ClassVar[Counts]

    def do_GET(self) -> None:
        """Lists, objects, watches, discovery, and what was counted."""
        where = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(where.query).items()}
        if where.path == "/counts":
            self._say(200, dict(self.counts.by_cost))
            return
        found = asked(where.path)
        if found is None:
            self._count("discovery", where.path)
            self._discover(where.path)
        elif query.get("watch") == "true":
            self._count("watch", found.kind.plural)
            self._watch(found, query)
        elif found.name:
            self._count("read", found.kind.plural)
            self._do(self.api.get(found.kind, found.namespace, found.name))
        else:
            self._count("list", found.kind.plural)
            self._list(found, query)

    def do_POST(self) -> None:
        """Reviews of rights are granted; everything else is made."""
        self._write()

    def do_PUT(self) -> None:
        """The whole object."""
        self._write()

    def do_PATCH(self) -> None:
        """Apply or JSON patch, by the type of the body."""
        self._write()

    def do_DELETE(self) -> None:
        """By uid."""
        self._write()

    def _write(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        if path.endswith("selfsubjectaccessreviews"):
            self._count("review", "")
            self._say(201, body | {"status": {"allowed": True}})
            return
        found = asked(path)
        if found is None:
            self._say(404, {"message": f"no {path}"})
            return
        self._count("lease" if found.kind is kube.LEASE else "write", f"{self.command} {found.kind.plural}")
        self._do(self._change(found, body))

    def _change(self, found: Asked, body: Any) -> Coroutine[Any, Any, Any]:
        if self.command == "DELETE":
            return self.api.delete(found.kind, found.namespace, found.name, body["preconditions"]["uid"])
        if self.command == "PATCH" and self.headers["Content-Type"].startswith("application/json-patch"):
            return self.api.patch(found.kind, found.namespace, found.name, body, found.part)
        if self.command == "PATCH":
            return self.api.apply(found.kind, body)
        made: Coroutine[Any, Any, Any] = getattr(self.api, _MAKES[self.command])(found.kind, body)
        return made

    def _do(self, call: Coroutine[Any, Any, Any]) -> None:
        try:
            self._say(200, self.api.answer(call) or {})
        except NotFoundError as error:
            self._say(404, {"message": str(error)})
        except ConflictError as error:
            self._say(409, {"message": str(error)})
        except KubeError as error:
            self._say(422, {"message": str(error)})

    def _list(self, found: Asked, query: dict[str, str]) -> None:
        call = self.api.list_from(found.kind, found.namespace, query.get("labelSelector", ""))
        items, version = self.api.answer(call)
        kind = {"apiVersion": found.kind.api_version, "kind": f"{found.kind.kind}List"}
        self._say(200, kind | {"metadata": {"resourceVersion": version}, "items": items})

    def _watch(self, found: Asked, query: dict[str, str]) -> None:
        """What changes after the version, until the time that was asked for is over."""
        labels = dict(each.split("=", 1) for each in query.get("labelSelector", "").split(",") if each)
        ends_at = time.monotonic() + float(query.get("timeoutSeconds", 60))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        version = int(query.get("resourceVersion") or self.api._version)
        while (left_s := ends_at - time.monotonic()) > 0:
            with self.api.lock:
                self.api.lock.wait(left_s)
                news = [(at, obj) for at, obj in self.api.changes if at > version]
            for at, obj in news:
                version = at
                is_asked = obj["kind"] == found.kind.kind
                if is_asked and labels.items() <= obj["metadata"].get("labels", {}).items():
                    self._tell("MODIFIED", obj)
        bookmark = {"apiVersion": found.kind.api_version, "kind": found.kind.kind}
        self._tell("BOOKMARK", bookmark | {"metadata": {"resourceVersion": str(version)}})
        self.wfile.write(b"0\r\n\r\n")

    def _tell(self, change: str, obj: Object) -> None:
        line = json.dumps({"type": change, "object": obj}).encode() + b"\n"
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.flush()

    def _discover(self, path: str) -> None:
        words = path.strip("/").split("/")
        version = "/".join(words[1:])
        resources = [
            {
                "name": plural,
                "singularName": kind.kind.lower(),
                "kind": kind.kind,
                "namespaced": kind.is_namespaced,
                "verbs": ["list", "watch", "patch"],
            }
            for (each, plural), kind in _KINDS.items()
            if each == version
        ]
        if resources:
            self._say(200, {"kind": "APIResourceList", "groupVersion": version, "resources": resources})
        elif path == "/api":
            self._say(200, {"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            versions = sorted({each.api_version for each in _KINDS.values() if each.group})
            groups = [_group(each) for each in versions]
            self._say(200, {"kind": "APIGroupList", "groups": groups})
        else:
            self._say(404, {"kind": "Status", "code": 404, "message": f"no {path}"})

    def _count(self, cost: str, what: str) -> None:
        self.counts.by_cost[f"{cost} {what}".strip()] += 1

    def _say(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Counted, not told."""


def _group(version: str) -> Object:
    one = {"groupVersion": version, "version": version.rpartition("/")[2]}
    return {"name": version.rpartition("/")[0], "versions": [one], "preferredVersion": one}


class BrokerPages(BaseHTTPRequestHandler):
    """The admin page of the broker whose address was connected to: what it says never changes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answers: ClassVar[dict[str, dict[str, bytes]]]
    """By address, then by path."""
    counts: ClassVar[Counts]

    def do_GET(self) -> None:
        """See contract.admin."""
        self.counts.by_cost["broker"] += 1
        content = self.answers[self.server.server_address[0]].get(self.path, b"ok")  # type: ignore[index]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Counted, not told."""


def pages_of(brokers: Brokers, api: Served) -> dict[str, bytes]:
    """What every broker of a cluster says."""
    found = api.answer(brokers.metadata(brokers.node_ids))
    return {
        admin.CLUSTER.path: found.cluster.model_dump_json().encode(),
        admin.BROKERS.path: admin.Brokers(brokers=found.brokers).model_dump_json().encode(),
        "/metrics": _FIGURES.encode(),
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has gone: an operator that was stopped."""
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()


def serve(api: Served, brokers: dict[str, Brokers]) -> int:
    """Both, on loopback, in threads of their own; the port of the API."""
    counts = Counts()
    KubePages.api, KubePages.counts, BrokerPages.counts = api, counts, counts
    said = {id(each): pages_of(each, api) for each in brokers.values()}
    BrokerPages.answers = {address: said[id(each)] for address, each in brokers.items()}
    for address in brokers:
        _start(_Server((address, names.ADMIN_PORT), BrokerPages))
    server = _Server(("127.0.0.1", 0), KubePages)
    _start(server)
    return server.server_port


def _start(server: ThreadingHTTPServer) -> None:
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 5.0}, daemon=True).start()


__all__ = ["Served", "serve"]
