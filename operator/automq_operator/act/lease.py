"""The Lease that says which operator works. It decides who tries; what may be done is decided by uids and versions.

A holder that is silent for the lease's time, on the candidate's own clock, is succeeded; one that ends in order lets go.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from automq_operator import kube, names
from automq_operator.kube import ConflictError, KubeApi, KubeError, NotFoundError, Object

DURATION_S: Final = 15.0
RENEW_S: Final = 3.0
RETRY_S: Final = 2.0
_LOST_S: Final = 10.0
"""A holder that could not renew for so long ends before anybody else begins."""


class LeaseLostError(Exception):
    """Somebody else holds it, or nobody knows: this process must end."""


class Lease:
    """One Lease object; `monotonic` is this process's own clock, `now` the wall's, which is only shown."""

    def __init__(
        self, api: KubeApi, namespace: str, identity: str, monotonic: Callable[[], float], now: Callable[[], float]
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._identity = identity
        self._monotonic = monotonic
        self._now = now
        self._seen: tuple[str, float] = ("", 0.0)

    async def acquire(self) -> None:
        """Waits until it is ours. What the API server does not answer is asked again."""
        while not await self._may_be_ours():
            await asyncio.sleep(RETRY_S)

    async def _may_be_ours(self) -> bool:
        try:
            return await self.try_once()
        except KubeError:
            return False

    async def try_once(self) -> bool:
        """Take it if it is free, ours, or was not renewed for its whole time. Raises kube.KubeError."""
        try:
            lease = await self._api.get(kube.LEASE, self._namespace, names.FIELD_MANAGER)
        except NotFoundError:
            lease = None
        if lease is None:
            return await self._write(self._api.create, {"metadata": {}})
        spec, version = lease.get("spec", {}), lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._monotonic())
        is_over = self._monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds") or DURATION_S)
        if spec.get("holderIdentity") in (None, "", self._identity) or is_over:
            return await self._write(self._api.replace, lease)
        return False

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLostError."""
        renewed_at = self._monotonic()
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                is_ours = await self.renew()
            except KubeError:
                is_ours = self._monotonic() - renewed_at < _LOST_S
            else:
                renewed_at = self._monotonic()
            if not is_ours:
                raise LeaseLostError("the Lease is not this operator's any more")

    async def renew(self) -> bool:
        """Whether it is still ours. Raises kube.KubeError."""
        lease = await self._api.get(kube.LEASE, self._namespace, names.FIELD_MANAGER)
        if lease.get("spec", {}).get("holderIdentity") != self._identity:
            return False
        return await self._write(self._api.replace, lease)

    async def release(self) -> None:
        """Let the next one begin at once. Raises kube.KubeError."""
        lease = await self._api.get(kube.LEASE, self._namespace, names.FIELD_MANAGER)
        if lease.get("spec", {}).get("holderIdentity") == self._identity:
            await self._write(self._api.replace, lease, holder="", duration_s=1)

    async def _write(
        self,
        call: Callable[[kube.Kind, Object], Awaitable[Object]],
        lease: Object,
        *,
        holder: str | None = None,
        duration_s: int = 15,
    ) -> bool:
        stamp = datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = lease.get("spec", {}) | {
            "holderIdentity": self._identity if holder is None else holder,
            "leaseDurationSeconds": duration_s,
            "renewTime": stamp,
        }
        metadata = lease["metadata"] | {"name": names.FIELD_MANAGER, "namespace": self._namespace}
        kind = {"apiVersion": kube.LEASE.api_version, "kind": kube.LEASE.kind}
        try:
            await call(kube.LEASE, kind | {"metadata": metadata, "spec": spec})
        except ConflictError:
            return False
        return True


__all__ = ["DURATION_S", "Lease", "LeaseLostError"]
