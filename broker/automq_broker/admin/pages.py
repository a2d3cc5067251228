"""The four pages, built from callables that know the answers."""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from automq_broker.admin.exposition import CONTENT_TYPE, Metrics
from automq_broker.admin.http import Handler, Request, Response, Routes, json_response, text

Reason = Callable[[], str | None]
"""None if all is well, else why not, in a few words."""


def build_routes(
    *,
    why_unhealthy: Reason,
    why_not_ready: Reason,
    trouble: Reason = lambda: None,
    metrics: Metrics,
    status: Callable[[], Mapping[str, Any]],
    more: Routes | None = None,
) -> Routes:
    """/healthz, /readyz, /metrics, /status, what `more` brings, and / that lists them all.

    A broker that is ready and has a `trouble` says so in the text of its 200.
    """
    routes: dict[tuple[str, str], Handler] = {
        ("GET", "/healthz"): lambda _: _verdict(why_unhealthy()),
        ("GET", "/readyz"): lambda _: _verdict(why_not_ready(), trouble() or "ok"),
        ("GET", "/metrics"): _metrics_page(metrics),
        ("GET", "/status"): lambda _: json_response(plain(status())),
        **(more or {}),
    }
    listing = "\n".join(f"{method} {path}" for method, path in sorted(routes, key=lambda route: route[1]))
    routes["GET", "/"] = lambda _: text(listing)
    return routes


def _verdict(reason: str | None, otherwise: str = "ok") -> Response:
    return text(otherwise) if reason is None else text(reason, 503)


def _metrics_page(metrics: Metrics) -> Handler:
    async def page(_: Request) -> Response:
        # Sources are read on the loop, in one step; making the text can take long with many groups, so not here.
        samples = metrics.samples()
        body = await asyncio.get_running_loop().run_in_executor(None, metrics.text, samples)
        return Response(body=body, content_type=CONTENT_TYPE)

    return page


def plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples and sets as lists, everything else as it is: what JSON can carry."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


__all__ = ["Reason", "build_routes", "plain"]
