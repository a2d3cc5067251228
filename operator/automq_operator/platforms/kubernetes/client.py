"""KubeApi over the official client: its connections, credentials and TLS; paths and bodies are ours, objects stay plain.

The client's thousand model classes are not used: what the operator does not know of an object must survive it.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import urllib3
from kubernetes import client, config

from automq_operator import names
from automq_operator.kube import (
    Change,
    ConflictError,
    ForbiddenError,
    InvalidError,
    Kind,
    KubeError,
    NotFoundError,
    Object,
    UnavailableError,
)
from automq_operator.platforms.kubernetes.event_stream import EventStream

_TIMEOUT: Final = urllib3.Timeout(connect=3.0, read=10.0)
_WATCH_S: Final = 60
_WATCH_TIMEOUT: Final = urllib3.Timeout(connect=3.0, read=_WATCH_S + 15.0)
"""A connection that nobody ended and that brings nothing any more is given up after this."""
_PAGE: Final = 500
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"
_JSON_PATCH: Final = "application/json-patch+json"

_REFUSED_PATCH: Final = "the server rejected our request due to an error in our request"
"""All that API servers say of a JSON patch whose test failed (seen on 1.34); of an invalid object they say what is."""

_ERRORS: Final[dict[int, type[KubeError]]] = {
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: UnavailableError,
    422: InvalidError,
    429: UnavailableError,
    400: InvalidError,
}


def connect() -> "KubernetesClient":
    """By the pod's own account, else by the kubeconfig. Raises kubernetes.config.ConfigException."""
    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    return KubernetesClient(client.ApiClient())


class KubernetesClient:
    """Satisfies kube.KubeApi."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def list_all(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        """See kube.KubeApi; in pages."""
        return (await self.list_from(kind, namespace, selector))[0]

    async def list_from(self, kind: Kind, namespace: str = "", selector: str = "") -> tuple[list[Object], str]:
        """See kube.KubeApi."""
        found: list[Object] = []
        query: dict[str, Any] = {"limit": _PAGE} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = await self._send("GET", _path(kind, namespace), query=query)
            # Items of a list do not name their kind.
            found += [{"apiVersion": kind.api_version, "kind": kind.kind} | item for item in answer.get("items", ())]
            query["continue"] = answer.get("metadata", {}).get("continue")
            if not query["continue"]:
                return found, str(answer.get("metadata", {}).get("resourceVersion", ""))

    async def watch(
        self, kind: Kind, namespace: str, selector: str, version: str
    ) -> AsyncIterator[tuple[Change, Object]]:
        """See kube.KubeApi. A thread of its own reads, since an answer that lasts would hold one of the pool."""
        query: Object = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": _WATCH_S,
        } | ({"labelSelector": selector} if selector else {})
        stream = EventStream(lambda: self._open(_path(kind, namespace), query))
        try:
            async for change, obj in stream.events():
                yield change, {"apiVersion": kind.api_version, "kind": kind.kind} | obj
        finally:
            stream.stop()

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """See kube.KubeApi."""
        return await self._send("GET", _path(kind, namespace, name))

    async def create(self, kind: Kind, obj: Object) -> Object:
        """See kube.KubeApi."""
        namespace = obj["metadata"].get("namespace", "")
        return await self._send("POST", _path(kind, namespace), obj, query={"fieldManager": names.FIELD_MANAGER})

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """See kube.KubeApi."""
        path = _path(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return await self._send("PATCH", path, obj, query=query, content_type=_APPLY)

    async def patch(self, kind: Kind, namespace: str, name: str, operations: list[Object], part: str = "") -> Object:
        """See kube.KubeApi."""
        path = _path(kind, namespace, name, part)
        query = {"fieldManager": names.FIELD_MANAGER}
        try:
            return await self._send("PATCH", path, operations, query=query, content_type=_JSON_PATCH)
        except InvalidError as error:
            said = str(error)
            if _REFUSED_PATCH in said or ("test" in said and "fail" in said):
                raise ConflictError(f"{kind.kind} {name} is not as it was seen") from error
            raise

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """See kube.KubeApi."""
        path = _path(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        return await self._send("PUT", path, obj, query={"fieldManager": names.FIELD_MANAGER})

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """See kube.KubeApi."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        options |= {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        try:
            await self._send("DELETE", _path(kind, namespace, name), options)
        except NotFoundError:
            return

    async def may(self, verb: str, kind: Kind, namespace: str = "") -> bool:
        """See kube.KubeApi."""
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural, "namespace": namespace}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        return bool(answer["status"].get("allowed"))

    async def knows(self, kind: Kind) -> bool:
        """See kube.KubeApi."""
        root = "/apis/" if kind.group else "/api/"
        try:
            answer = await self._send("GET", root + kind.api_version)
        except NotFoundError:
            return False
        return any(each["name"] == kind.plural for each in answer.get("resources", ()))

    async def _send(
        self, method: str, path: str, body: Any = None, *, query: Object | None = None, content_type: str = _JSON
    ) -> Object:
        return await asyncio.to_thread(self._exchange, method, path, body, query or {}, content_type)

    def _exchange(self, method: str, path: str, body: Any, query: Object, content_type: str) -> Object:
        headers = self._headers() | {"Content-Type": content_type}
        try:
            response = self._api.rest_client.pool_manager.request(
                method,
                self._url(path, query),
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=_TIMEOUT,
                retries=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnavailableError(f"{method} {path}: {error}") from error
        return _read(response.status, response.data, f"{method} {path}")

    def _open(self, path: str, query: Object) -> urllib3.BaseHTTPResponse:
        """An answer whose body is still to come. Raises kube.KubeError, urllib3.exceptions.HTTPError or OSError."""
        response: urllib3.BaseHTTPResponse = self._api.rest_client.pool_manager.request(
            "GET",
            self._url(path, query),
            headers=self._headers(),
            timeout=_WATCH_TIMEOUT,
            retries=False,
            preload_content=False,
        )
        if response.status != 200:
            _read(response.status, response.data, f"watch {path}")
        return response

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": _JSON}
        for each in self._api.configuration.auth_settings().values():
            if each["in"] == "header" and each["value"]:
                headers[each["key"]] = each["value"]
        return headers

    def _url(self, path: str, query: Object) -> str:
        given = {key: str(value) for key, value in query.items() if value is not None}
        return f"{self._api.configuration.host}{path}{f'?{urlencode(given)}' if given else ''}"


def _read(status: int, body: bytes, what: str) -> Object:
    """The answer, or its error; what no handler of the API server's wrote is plain text."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = {"message": f"{what}: HTTP {status} {body[:200].decode(errors='replace').strip()}"}
        if status < 300:
            raise UnavailableError(f"{what}: an answer that is no JSON") from None
    if status >= 300:
        raise _ERRORS.get(status, UnavailableError)(answer.get("message") or f"{what}: HTTP {status}")
    found: Object = answer
    return found


def _path(kind: Kind, namespace: str = "", name: str = "", part: str = "") -> str:
    root = "/apis/" if kind.group else "/api/"
    scope = f"/namespaces/{quote(namespace)}" if kind.is_namespaced and namespace else ""
    path = f"{root}{kind.api_version}{scope}/{kind.plural}"
    return path + (f"/{quote(name)}" if name else "") + (f"/{part}" if part else "")


__all__ = ["KubernetesClient", "connect"]
