"""HTTP /v1: who may ask, what was asked, and how a refusal is told. The work is done by views and actions.

Reading needs the token once one is configured; changing always does, so without a token file nothing can be changed.
Errors are application/problem+json (RFC 9457), each with one line that says what to do about it.
"""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from pydantic import ValidationError

from automq_broker.admin import cluster_views as views
from automq_broker.admin.cluster_actions import ClusterActions, UnknownBroker
from automq_broker.admin.http import Handler, Request, Response, Routes, problem
from automq_broker.admin.openapi import description
from automq_broker.admin.token import Token
from automq_broker.contract import admin
from automq_broker.desk.context import BrokerConfigs
from automq_broker.engine.balancing import Balancer
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.sweep import Sweeper
from automq_broker.kernel.errors import AutomqError, Bug, ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.kernel.ids import NodeId
from automq_broker.ports import BucketDenied, BucketUnavailable, Clock, Metadata
from automq_broker.wire.codes import ErrorCode

Work = Callable[[Request], admin.Answer | Awaitable[admin.Answer]]


class ClusterApi:
    """The routes of /v1 over one process's metadata. `metadata` is None while the broker starts: 503 then."""

    def __init__(self, node_id: int, decisions: Decisions, token: Token | None, clock: Clock) -> None:
        self._node_id = node_id
        self._decisions = decisions
        self._token = token
        self._clock = clock
        self._metadata: Metadata | None = None
        self._controller: Callable[[], admin.Controller] = lambda: admin.Controller(node_id=None)
        self._balancer: Balancer | None = None
        self._actions: ClusterActions | None = None

    def serve(
        self,
        metadata: Metadata,
        controller: Callable[[], admin.Controller],
        balancer: Balancer | None,
        sweeper: Sweeper,
        configs: BrokerConfigs,
    ) -> None:
        """The broker knows the metadata: from now on questions are answered. A lone broker has no balancer."""
        self._metadata = metadata
        self._balancer = balancer
        self._controller = controller
        self._actions = ClusterActions(metadata, self._decisions, balancer, sweeper, self._clock, configs)

    def routes(self) -> Routes:
        """Every call of the contract, and its description."""
        page = json.dumps(description(), indent=1).encode()
        found: dict[tuple[str, str], Handler] = {
            ("GET", admin.OPENAPI_PATH): lambda _: Response(body=page, content_type="application/json")
        }
        for call in admin.CALLS:
            found[call.method, call.path] = self._handler(call)
        return found

    def _handler(self, call: admin.Call) -> Handler:
        async def handle(request: Request) -> Response:
            refusal = self._refusal(call, request)
            if refusal is not None:
                return refusal
            try:
                answer = await self._work(call, request)
            except ValidationError as error:
                return problem(HTTPStatus.BAD_REQUEST, _what_is_wrong(error))
            except (AutomqError, BucketUnavailable, BucketDenied) as error:
                return _problem_of(error)
            return Response(body=answer.model_dump_json(indent=2).encode() + b"\n", content_type="application/json")

        return handle

    def _refusal(self, call: admin.Call, request: Request) -> Response | None:
        """Why the caller is not heard, if so."""
        if self._token is None:
            if call.method == "GET":
                return None
            return problem(HTTPStatus.FORBIDDEN, "nothing can be changed: this broker has no automq.admin.token.file")
        if self._token.admits(request.headers.get("authorization", "")):
            return None
        return problem(
            HTTPStatus.UNAUTHORIZED,
            "the bearer token of automq.admin.token.file is needed",
            {"WWW-Authenticate": 'Bearer realm="automq"'},
        )

    async def _work(self, call: admin.Call, request: Request) -> admin.Answer:
        metadata, actions = self._metadata, self._actions
        if metadata is None or actions is None:
            raise Retry("the broker starts and does not know the cluster yet", 1.0)
        if call.question is not None:
            question = call.question.model_validate_json(request.body or b"null")
            return await _act(actions, question)
        return self._read(call, request, metadata)

    def _read(self, call: admin.Call, request: Request, metadata: Metadata) -> admin.Answer:
        _check_query(call, request)
        match call.name:
            case "cluster":
                return views.cluster(metadata.state, self._node_id, self._controller())
            case "brokers":
                return views.brokers(metadata.state, self._load_of)
            case "partitions":
                limit = _limit(request.query.get("limit"))
                return views.partitions(metadata.state, after=request.query.get("after", ""), limit=limit)
            case "moves":
                return views.moves(metadata.state)
            case "recoveries":
                return views.recoveries(metadata.state)
            case "decisions":
                newest = self._decisions.newest_first()
                return admin.Decisions(decisions=tuple(admin.Decision(**each._asdict()) for each in newest))
            case _:
                raise Bug(f"{call.path} is in the contract and not served")

    def _load_of(self, node_id: NodeId) -> admin.Load | None:
        rates = self._balancer.load_of(node_id) if self._balancer is not None else None
        if self._balancer is None or rates is None:
            return None
        return admin.Load(
            bytes_in_per_s=rates.bytes_in,
            bytes_out_per_s=rates.bytes_out,
            wal_used_bytes=rates.last.wal_used_bytes,
            wal_capacity_bytes=rates.last.wal_capacity_bytes,
            connections=rates.last.connections,
            silent_ms=round(self._balancer.silent_s(rates) * 1000),
        )


_ACTIONS: dict[type[admin.Question], Callable[[ClusterActions, Any], Awaitable[admin.Answer]]] = {
    admin.DrainRequest: ClusterActions.drain,
    admin.BalanceRequest: ClusterActions.balance,
    admin.FenceRequest: ClusterActions.fence,
    admin.RescueRequest: ClusterActions.rescue,
    admin.AdoptDoneRequest: ClusterActions.adopt_done,
    admin.AcceptWalLossRequest: ClusterActions.accept_wal_loss,
    admin.StopClusterRequest: ClusterActions.stop_cluster,
    admin.ForgetRequest: ClusterActions.forget,
    admin.ConfigsRequest: ClusterActions.configure,
    admin.SweepRequest: ClusterActions.sweep,
}


async def _act(actions: ClusterActions, question: admin.Question) -> admin.Answer:
    work = _ACTIONS.get(type(question))
    if work is None:
        raise Bug(f"{type(question).__name__} is in the contract and not served")
    return await work(actions, question)


def _check_query(call: admin.Call, request: Request) -> None:
    unknown = sorted(set(request.query) - set(call.query))
    if unknown:
        raise _wrong(f"{call.path} takes no {', '.join(unknown)}; allowed: {', '.join(call.query) or 'nothing'}")


def _wrong(message: str) -> ClientFault:
    return ClientFault(ErrorCode.INVALID_REQUEST, message)


def _limit(value: str | None) -> int:
    if value is None:
        return admin.PAGE_ROWS_MAX
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or not 1 <= int(value) <= admin.PAGE_ROWS_MAX:
        raise _wrong(f"limit: {value!r} is not from 1 to {admin.PAGE_ROWS_MAX}")
    return int(value)


def _problem_of(error: Exception) -> Response:
    """Each family of errors by its remedy; what is a bug stays one."""
    match error:
        case UnknownBroker():
            return problem(HTTPStatus.NOT_FOUND, str(error))
        case ClientFault():
            return problem(HTTPStatus.BAD_REQUEST, str(error))
        case Refused() | Fenced() | NotMine():
            return problem(HTTPStatus.CONFLICT, str(error))
        case Retry():
            return problem(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": f"{max(1, round(error.delay_s))}"}
            )
        case BucketUnavailable() | BucketDenied():
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, f"the bucket: {error}", {"Retry-After": "1"})
        case _:
            raise error


def _what_is_wrong(error: ValidationError) -> str:
    """The first few faults in one line each would be written to; never the values, which may be anything."""
    faults: list[Any] = error.errors(include_url=False, include_input=False, include_context=False)[:5]
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults)


__all__ = ["ClusterApi"]
