"""The admin API on a real socket, over the metadata twin; runs its own loop so that blocking clients can ask it."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

from automq_broker.admin.api import ClusterApi
from automq_broker.admin.http import AdminServer
from automq_broker.admin.token import Token
from automq_broker.assembly.broker_configs import LiveConfigs
from automq_broker.contract import admin
from automq_broker.engine.balancing import Balancer
from automq_broker.engine.decisions import Decisions
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.engine.sweep import Sweeper
from automq_broker.settings import load_settings
from twins.memory_bucket import MemoryBucket, MemoryStore
from twins.meta_port import MetaPort
from twins.meta_world import MetaWorld

TOKEN = "a-token-of-sixteen-characters"


class FixedClock:
    """Time stands still."""

    def now_ms(self) -> int:
        """See ports.Clock."""
        return 1_700_000_000_000

    def monotonic(self) -> float:
        """See ports.Clock."""
        return 0.0


@contextlib.contextmanager
def serving(
    world: MetaWorld | None,
    *,
    token_file: Path | None = None,
    balancer: Balancer | None = None,
    bucket: MemoryStore | None = None,
    node_id: int = 1,
    controller_host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serve as broker `node_id` until the block ends; yields the URL. Without a world the broker is still starting.

    Broker 1 is the controller, at `controller_host`, and there are its own pages; those of the others are on 127.0.0.1.
    """
    host = controller_host if node_id == 1 else "127.0.0.1"
    api = ClusterApi(node_id, Decisions(FixedClock()), Token(token_file) if token_file else None, FixedClock())
    if world is not None:
        controller = admin.Controller(node_id=1, endpoint=f"{controller_host}:9092", epoch=7)
        metadata, rng = MetaPort(world), random.Random(1)
        sweeper = Sweeper(
            store=Store(MemoryBucket(bucket), rng),
            metadata=metadata,
            knobs=EngineKnobs(),
            clock=FixedClock(),
            rng=rng,
            forget=lambda _: None,
        )
        api.serve(metadata, lambda: controller, balancer, sweeper, LiveConfigs(load_settings(), metadata))
    server = AdminServer(api.routes(), host=host, port=port)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="admin twin")
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
        yield f"http://{host}:{port}"
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


__all__ = ["TOKEN", "FixedClock", "serving"]
