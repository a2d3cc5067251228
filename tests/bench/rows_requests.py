"""S3 requests per GB: the real engine and controller over virtual hours, their bucket counting what S3 would bill.

A model to scale: 720 GB do not fit, so every size is a 1/`_SHRINK` of its own, the stream of records as well, while
times, the number of partitions and the metadata stay what they are. Block and index headers do not shrink, so the
objects are a few per cent larger than they would be, and the figure is on the safe side.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar
from uuid import UUID

from automq_broker.assembly.knobs import engine_knobs
from automq_broker.engine.append import Appended
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.engine.running import Budgets
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.commands import CreateTopic
from automq_broker.settings.model import load_settings
from automq_broker.wal.format import RING_POSITION
from automq_broker.wire import records
from sim.bucket import SimBucket
from sim.disk import SimWal
from sim.options import expand
from sim.process import BrokerProcess
from twins.engine_world import Fate
from twins.memory_bucket import Faults
from twins.virtual_time import LoopClock, run_virtual

from bench.lanes import Bench
from bench.outcome import Demand, Row

_HOURS = 4
_PARTITIONS = 1000
_BYTES_PER_SECOND = 50_000_000
_SHRINK = 250
_MIB = 1 << 20
_BURSTS = 20
"""Each partition gets a batch every so many quarters of a second."""
_PAUSE_S = 0.25

K = TypeVar("K", EngineKnobs, Any)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What was asked of the bucket for `gigabytes` of produced batches, in full size."""

    gigabytes: float
    requests: Counter[str]
    puts: int

    @property
    def per_gigabyte(self) -> float:
        """Requests of the PUT and POST class."""
        return self.puts / self.gigabytes

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count / self.gigabytes:.2f}" for kind, count in sorted(self.requests.items()))
        return f"per GB: {kinds}"


def requests_per_gigabyte(bench: Bench) -> list[Row]:
    """Four virtual hours (times `--scale`) at 1000 partitions and 50 MB/s, without compaction and with it."""
    hours = _HOURS * bench.scale
    logging.getLogger().setLevel(logging.CRITICAL)
    plain = run_virtual(_bill(hours, has_compaction=False))
    compacted = run_virtual(_bill(hours, has_compaction=True))
    title = f"S3 PUT and POST requests per GB over {hours:g} h"
    return [
        Row(
            figure=f"{title}, no compaction", ours=plain.per_gigabyte, value=plain.per_gigabyte,
            demand=Demand(must=31, aim=20, is_least=False), notes=[str(plain)],
        ),
        Row(
            figure=f"{title}, with compaction", ours=compacted.per_gigabyte, value=compacted.per_gigabyte,
            demand=Demand(must=50, aim=31, is_least=False), notes=[str(compacted)],
        ),
    ]  # fmt: skip


async def _bill(hours: float, *, has_compaction: bool) -> Bill:
    process = _broker(has_compaction)
    life = asyncio.ensure_future(process.live())
    while not process.is_serving:
        await asyncio.sleep(0.1)
    await process.control.submit(CreateTopic(name="orders", topic_id=UUID(int=1), partitions=_PARTITIONS))
    partitions = [await _open(process, index) for index in range(_PARTITIONS)]
    process.bucket.requests.clear()
    produced = 0
    ends_at = asyncio.get_running_loop().time() + hours * 3600
    for turn in _turns(partitions):
        if asyncio.get_running_loop().time() >= ends_at:
            break
        produced += await _burst(process, turn)
    bill = Bill(gigabytes=produced * _SHRINK / 1e9, requests=Counter(process.bucket.requests), puts=process.bucket.puts)
    process.die()
    await life
    return bill


def _turns(partitions: list[Partition]) -> Iterator[list[Partition]]:
    while True:
        for first in range(_BURSTS):
            yield partitions[first::_BURSTS]


async def _open(process: BrokerProcess, index: int) -> Partition:
    while True:
        try:
            return process.running.engine.partition_by_id(UUID(int=1), index)
        except ClientFault:
            await asyncio.sleep(0.1)


async def _burst(process: BrokerProcess, partitions: list[Partition]) -> int:
    """One batch for each; returns the bytes. The pause is part of it."""
    pause = asyncio.ensure_future(asyncio.sleep(_PAUSE_S))
    waiting = len(partitions)
    done = asyncio.get_running_loop().create_future()

    def acked(outcome: Appended | BaseException) -> None:
        nonlocal waiting
        if isinstance(outcome, BaseException):
            done.set_exception(outcome)
        waiting -= 1
        if not waiting:
            done.set_result(None)

    batch = _batch()
    for partition in partitions:
        process.running.engine.append(partition, bytearray(batch), acked, timeout_s=600.0)
    await done
    await pause
    return len(batch) * len(partitions)


def _batch() -> bytes:
    """A batch of the size that 50 MB/s, shrunk, leaves for each turn of a partition."""
    size = int(_BYTES_PER_SECOND * _BURSTS * _PAUSE_S / _PARTITIONS / _SHRINK)
    now_ms = LoopClock().now_ms()
    empty = len(records.encode_batch([records.Record(0, now_ms, None, b"", ())]))
    return bytes(records.encode_batch([records.Record(0, now_ms, None, bytes(size - empty), ())]))


def _broker(has_compaction: bool) -> BrokerProcess:
    settings = load_settings()
    engine = replace(engine_knobs(settings), upload_threshold_bytes=500 * _MIB)
    if not has_compaction:
        engine = replace(engine, compaction_interval_s=1e9)
    options = replace(
        expand(0),
        engine=replace(_shrunk(engine), compaction=_shrunk(engine.compaction)),
        control=ControlKnobs(),
        budgets=Budgets(tail_cache_bytes=512 * _MIB // _SHRINK, block_cache_bytes=512 * _MIB // _SHRINK),
    )
    fate = Fate()
    device = SimWal(platter=bytearray(RING_POSITION + 16 * _MIB))
    device.fate = fate
    device.on_write = lambda position, length, error: None
    bucket = SimBucket(
        faults=Faults(latency_s=(0.03, 0.1)),
        part_bytes=64 * _MIB // _SHRINK,
        single_put_bytes=128 * _MIB // _SHRINK,
    )
    bucket.fate = fate
    bucket.on_change = lambda kind, key: None
    bucket.on_delete = lambda keys: None
    return BrokerProcess(
        node_id=1, seed="requests", options=options, settings=settings, device=device, bucket=bucket, clock=LoopClock()
    )  # fmt: skip


def _shrunk(knobs: K) -> K:
    """The same with every size divided; what limits a batch or the device's pipeline stays."""
    sizes = {
        field.name: max(1, getattr(knobs, field.name) // _SHRINK)
        for field in fields(knobs)
        if "bytes" in field.name and field.name not in ("decompress_limit_bytes", "in_flight_bytes_max")
    }
    return replace(knobs, **sizes)


__all__ = ["requests_per_gigabyte"]
