"""The brokers' admin pages as the operator asks them: metadata, figures, and the few changes it makes. Never waits long."""

import asyncio
import http.client
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from automq_broker.contract import admin, metrics
from pydantic import ValidationError

from automq_operator.world import Broker, Status

A = TypeVar("A", bound=admin.Answer)

_ASK_S = 2.0
_CHANGE_S = 20.0
_BODY_BYTES_MAX = 64 << 20
_READ = (metrics.NETWORK_BYTES, metrics.WAL_USED, metrics.WAL_CAPACITY, metrics.BUCKET_BYTES)
_SAMPLES = {
    each.name: re.compile(rf'\n{each.name}(?:\{{(?:direction="(\w+)")?\}})? ([0-9.eE+-]+)(?=\n)'.encode())
    for each in _READ
}
"""A page has thousands of lines; a pattern that begins with letters is looked for much faster than each line is read."""


class NoAnswerError(Exception):
    """Nobody answered, or what came is not understood."""


class RefusedError(Exception):
    """The cluster says no; the message is its reason."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters and gauges of one broker, in bytes."""

    bytes_in: float
    bytes_out: float
    wal_used: float
    wal_capacity: float
    bucket_in: float = 0.0
    bucket_out: float = 0.0

    @property
    def network_in(self) -> float:
        """Bytes that came over the network: from clients and other brokers, and from the bucket."""
        return self.bytes_in + self.bucket_in

    @property
    def network_out(self) -> float:
        """Bytes that left over it; a network disk has its own line."""
        return self.bytes_out + self.bucket_out


@dataclass(frozen=True, slots=True)
class Metadata:
    """The cluster as one broker knows it."""

    cluster: admin.Cluster
    brokers: tuple[admin.Broker, ...]

    @property
    def age_order(self) -> tuple[int, int]:
        """Of two answers the one with the larger order is the newer."""
        return self.cluster.controller.epoch, max((each.broker_epoch for each in self.brokers), default=0)


class BrokerApi:
    """One cluster's admin pages: host and port by node id."""

    def __init__(self, addresses: Mapping[int, tuple[str, int]], token: str) -> None:
        self._addresses = addresses
        self._token = token

    async def is_healthy(self, node_id: int) -> bool:
        """Whether its loop turns."""
        try:
            return (await asyncio.to_thread(self._send, node_id, "GET", "/healthz", None, _ASK_S))[0] == 200
        except NoAnswerError:
            return False

    async def metadata(self, node_ids: Sequence[int]) -> Metadata | None:
        """The newest answer of these brokers; None if none of them gives one."""
        answers = await asyncio.gather(*(self._metadata_of(node_id) for node_id in node_ids))
        return max((each for each in answers if each is not None), key=lambda each: each.age_order, default=None)

    async def _metadata_of(self, node_id: int) -> Metadata | None:
        try:
            answers = await asyncio.to_thread(self._get_all, node_id, (admin.CLUSTER.path, admin.BROKERS.path))
            cluster = _read(node_id, *answers[0], admin.Cluster)
            return Metadata(cluster, _read(node_id, *answers[1], admin.Brokers).brokers)
        except (NoAnswerError, RefusedError):
            return None

    async def figures(self, node_id: int) -> Figures | None:
        """What it counts; None if it does not answer."""
        try:
            status, body = await asyncio.to_thread(self._send, node_id, "GET", "/metrics", None, _ASK_S)
        except NoAnswerError:
            return None
        if status != 200:
            return None
        page = b"\n" + body
        found = {
            (name, direction.decode()): float(value)
            for name, pattern in _SAMPLES.items()
            for direction, value in pattern.findall(page)
        }
        return Figures(
            found.get((metrics.NETWORK_BYTES.name, "in"), 0.0),
            found.get((metrics.NETWORK_BYTES.name, "out"), 0.0),
            found.get((metrics.WAL_USED.name, ""), 0.0),
            found.get((metrics.WAL_CAPACITY.name, ""), 0.0),
            found.get((metrics.BUCKET_BYTES.name, "in"), 0.0),
            found.get((metrics.BUCKET_BYTES.name, "out"), 0.0),
        )

    async def change(self, node_ids: Sequence[int], call: admin.Call, model: type[A], question: admin.Question) -> A:
        """Ask the first of these brokers that answers. Raises NoAnswerError or RefusedError; safe to repeat."""
        for node_id in node_ids:
            try:
                return await self._ask(node_id, call, model, question)
            except NoAnswerError:
                continue
        raise NoAnswerError("no broker answers")

    async def _ask(self, node_id: int, call: admin.Call, model: type[A], question: admin.Question) -> A:
        body = question.model_dump_json()
        answer = await asyncio.to_thread(self._send, node_id, call.method, call.path, body, _CHANGE_S)
        return _read(node_id, *answer, model)

    def _get_all(self, node_id: int, paths: Sequence[str]) -> list[tuple[int, bytes]]:
        """Several pages over one connection."""
        with self._connected(node_id, _ASK_S) as connection:
            return [self._exchange(connection, "GET", path) for path in paths]

    def _send(self, node_id: int, method: str, path: str, body: str | None, timeout_s: float) -> tuple[int, bytes]:
        with self._connected(node_id, timeout_s) as connection:
            return self._exchange(connection, method, path, body)

    @contextmanager
    def _connected(self, node_id: int, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
        """Whatever goes wrong meanwhile is a NoAnswerError."""
        host, port = self._addresses[node_id]
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(f"broker {node_id}: {error}") from error
        finally:
            connection.close()

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
    ) -> tuple[int, bytes]:
        connection.request(method, path, body, {"Authorization": f"Bearer {self._token}"})
        response = connection.getresponse()
        return response.status, response.read(_BODY_BYTES_MAX)


def _read(node_id: int, status: int, content: bytes, model: type[A]) -> A:
    """Raises NoAnswerError or RefusedError."""
    try:
        if status == 200:
            return model.model_validate_json(content)
        problem = admin.Problem.model_validate_json(content)
    except ValidationError as error:
        raise NoAnswerError(f"broker {node_id}: HTTP {status} and an answer that is not understood") from error
    if status == 503:
        raise NoAnswerError(problem.detail)
    raise RefusedError(problem.detail)


def as_seen(broker: admin.Broker) -> Broker:
    """A broker of the API as planners know it."""
    return Broker(
        node_id=broker.node_id,
        status=Status(broker.status.value),
        broker_epoch=broker.broker_epoch,
        volume=str(broker.volume_uuid),
        zone=broker.rack,
        partitions_assigned=broker.partitions_assigned,
        partitions_open=broker.partitions_open,
        is_cordoned=broker.is_cordoned,
        is_clean=broker.is_clean,
        rescue=broker.rescue,
    )


__all__ = ["BrokerApi", "Figures", "Metadata", "NoAnswerError", "RefusedError", "as_seen"]
