"""`automq-operator run`: wait for the Lease, then start kopf and the keepers; losing the Lease ends the process."""

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine
from typing import Any

import kopf
from automq_broker.contract.dynamic_configs import DYNAMIC_CONFIGS

from automq_operator import doors, health
from automq_operator.act.lease import Lease, LeaseLostError
from automq_operator.broker_api import BrokerApi
from automq_operator.kube import CLUSTER, KubeApi, KubeError
from automq_operator.observe.feeds import Watched
from automq_operator.observe.look import Shared
from automq_operator.platforms.kubernetes.client import connect
from automq_operator.platforms.kubernetes.ec2 import Ec2
from automq_operator.platforms.kubernetes.keeper import Keeper
from automq_operator.platforms.kubernetes.keepers import Keepers
from automq_operator.platforms.kubernetes.platform import KubernetesPlatform
from automq_operator.report import metrics
from automq_operator.settings import Settings
from automq_operator.shapes.cluster import Installation

_LOG = logging.getLogger("automq_operator")
_DEFINED_S = 3.0


def platform_of(settings: Settings, api: KubeApi, shared: Shared, namespace: str, name: str) -> KubernetesPlatform:
    """One cluster's platform on a real API server."""
    return KubernetesPlatform(
        api=api,
        shared=shared,
        namespace=namespace,
        name=name,
        installation=Installation(
            image_repository=settings.image_repository,
            version=settings.version,
            namespace=settings.namespace,
            adopter_priority_class=settings.adopter_priority_class,
            dynamic_configs=DYNAMIC_CONFIGS,
        ),
        connect=BrokerApi,
        now=time.time,
        provider=Ec2(),
    )


async def run(settings: Settings) -> int:
    """Exit code: 0 after a signal, 1 otherwise."""
    api = connect()
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)

    def make(namespace: str, name: str) -> Keeper:
        platform = platform_of(settings, api, shared, namespace, name)
        return Keeper(platform, api, now=time.time, interval_s=settings.interval_seconds)

    keepers = Keepers(make, time.time)
    metrics.QUEUE.set_function(keepers.queue)
    views = Watched(api, time.monotonic, settings.namespaces, keepers.told)
    shared = Shared(api, time.monotonic, views)
    server = health.serve(settings.port, keepers.why_deaf)
    lease = Lease(api, settings.namespace, settings.identity, time.monotonic, time.time)
    try:
        if not await _first(_defined(api), stop) or not await _first(lease.acquire(), stop):
            return 0
        return await _lead(settings, keepers, views, lease, stop)
    finally:
        server.shutdown()


async def _defined(api: KubeApi) -> None:
    """Waits until the API server knows AutoMQClusters: kopf looks once for what it is to watch."""
    is_told = False
    while not await _knows(api):
        if not is_told:
            _LOG.warning("waits until the API server knows AutoMQClusters (crds/automqclusters.yaml)")
            is_told = True
        await asyncio.sleep(_DEFINED_S)


async def _knows(api: KubeApi) -> bool:
    try:
        return await api.knows(CLUSTER)
    except KubeError:
        return False


async def _first(work: Coroutine[None, None, None], stop: asyncio.Event) -> bool:
    """Whether the work was done before the signal to stop."""
    task, stopped = asyncio.create_task(work, name="lease"), asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    is_done = task.done()
    for each in (task, stopped):
        each.cancel()
    await asyncio.gather(task, stopped, return_exceptions=True)
    return is_done


async def _lead(settings: Settings, keepers: Keepers, views: Watched, lease: Lease, stop: asyncio.Event) -> int:
    """Only the holder starts kopf: a standby that watches was seen to let a deleted resource go."""
    metrics.LEADER.set(1)
    _LOG.info("this operator holds the Lease")
    flag = asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(
            registry=doors.registry(keepers),
            standalone=True,
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
            stop_flag=flag,
        ),
        name="kopf",
    )
    views.follow(CLUSTER)
    holding = asyncio.create_task(lease.hold(), name="lease")
    ends: list[asyncio.Task[Any]] = [
        watching,
        holding,
        asyncio.create_task(stop.wait(), name="stop"),
        asyncio.create_task(keepers.ended.wait(), name="keepers"),
        asyncio.create_task(views.ended.wait(), name="watches"),
    ]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    # kopf takes the signals for itself, and returns when one came.
    is_asked = stop.is_set() or (watching.done() and watching.exception() is None)
    is_lost = holding.done() and isinstance(holding.exception(), LeaseLostError)
    # ORDER: nothing is worked on any more before somebody else may begin.
    await keepers.stop()
    await views.stop()
    flag.set()
    await asyncio.wait({watching}, timeout=5.0)
    for each in ends:
        each.cancel()
    results = await asyncio.gather(*ends, return_exceptions=True)
    if not is_lost:
        try:
            await lease.release()
        except KubeError as error:
            _LOG.warning("the Lease runs out by itself: %s", error)
    for failure in (keepers.failure, views.failure, *results):
        if isinstance(failure, Exception):
            _LOG.error("ended", exc_info=failure)
    return 0 if is_asked else 1


__all__ = ["platform_of", "run"]
