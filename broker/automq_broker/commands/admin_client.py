"""Asks the admin API for the command line: finds a broker that answers, sends the token, turns problems into one line."""

import http.client
import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import ValidationError

from automq_broker.contract import admin
from automq_broker.contract.local import CLUSTER_FILE, DEFAULT_ADMIN_URL, LocalCluster
from automq_broker.kernel.errors import Refused

A = TypeVar("A", bound=admin.Answer)

_TIMEOUT_S = 10.0
_BODY_BYTES_MAX = 64 << 20


class Unreachable(Refused):
    """Nobody answered at all."""


class AdminClient:
    """One question at a time, to the first of `urls` that answers. Raises Refused with what the user can do."""

    def __init__(
        self, urls: Sequence[str], *, token: str = "", ca_file: Path | None = None, timeout_s: float = _TIMEOUT_S
    ) -> None:
        self._urls = list(urls)
        self._token = token
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def ask(self, call: admin.Call, model: type[A], question: admin.Question | None = None, **query: str) -> A:
        """The answer to one call of the contract; `model` is that call's."""
        path = call.path + (f"?{urlencode(query)}" if query else "")
        body = None if question is None else question.model_dump_json()
        status, content = self._send(call.method, path, body)
        try:
            value = json.loads(content)
            if status == 200:
                return model.model_validate(value)
            problem = admin.Problem.model_validate(value)
        except (ValueError, ValidationError) as error:
            raise Refused(f"{call.path}: HTTP {status}, and an answer that is not understood") from error
        raise Refused(problem.detail)

    def at_controller(self, *, timeout_s: float = _TIMEOUT_S) -> "AdminClient":
        """The same for the broker that is the controller: one of `urls`, or at its own host behind the port of one of them,
        as the pods of one cluster have their pages. Raises Refused if it is at neither.

        What takes the controller longer than a look at its metadata is given more time.
        """
        holder, left = None, list(reversed(self._urls))
        seen = set(left)
        while left:
            url = left.pop()
            try:
                cluster = AdminClient([url], token=self._token, ca_file=self._ca_file).ask(admin.CLUSTER, admin.Cluster)
            except Unreachable:
                continue
            holder = cluster.controller.node_id
            if holder == cluster.answered_by:
                return AdminClient([url], token=self._token, ca_file=self._ca_file, timeout_s=timeout_s)
            left += {_beside(url, cluster.controller.endpoint)} - seen
            seen.update(left)
        where = "no broker that was asked knows who that is" if holder is None else f"that is broker {holder}"
        raise Refused(f"only the controller can answer this: {where}; give its address with --admin")

    def _send(self, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        """The first broker that answers at all is believed; the next is tried only where nobody could be reached."""
        failures = []
        for url in self._urls:
            try:
                return self._send_to(url, method, path, body)
            except (OSError, http.client.HTTPException) as error:
                failures.append(f"{url}: {error}")
        raise Unreachable(f"no broker answers: {'; '.join(failures)}")

    def _send_to(self, url: str, method: str, path: str, body: str | None) -> tuple[int, bytes]:
        connection = self._connection(url)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read(_BODY_BYTES_MAX)
        finally:
            connection.close()

    def _connection(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Refused(f"{url!r} is no address of an admin page; it is like {DEFAULT_ADMIN_URL}")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self._timeout_s)
        context = ssl.create_default_context(cafile=None if self._ca_file is None else str(self._ca_file))
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self._timeout_s, context=context)


def connect(*, urls: Sequence[str], token_file: Path | None, ca_file: Path | None, data: Path) -> AdminClient:
    """A client of what the options name, else of the cluster that `automq up` runs on `data`, else of a lone broker."""
    local = _local_cluster(data)
    if not urls:
        urls = local.admin if local else (DEFAULT_ADMIN_URL,)
        token_file = token_file or (Path(local.token_file) if local else None)
    return AdminClient(urls, token=_read_token(token_file), ca_file=ca_file)


def _beside(url: str, endpoint: str) -> str:
    """The admin page at the host of a listener's `endpoint`, with scheme and port of `url`; `url` where none is known."""
    host = endpoint.rpartition(":")[0]
    parts = urlsplit(url)
    name = f"[{host}]" if ":" in host else host
    return parts._replace(netloc=f"{name}:{parts.port}" if parts.port else name).geturl() if host else url


def _local_cluster(data: Path) -> LocalCluster | None:
    path = data / CLUSTER_FILE
    try:
        return LocalCluster.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise Refused(f"{path} is not what `automq up` writes: {error}") from error


def _read_token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Refused(f"cannot read the token in {path}: {error.strerror}") from error


__all__ = ["AdminClient", "connect"]
