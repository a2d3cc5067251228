"""Phases of faults: each draws which kinds come together and how strong, or calm; the last one heals everything."""

import asyncio
from collections.abc import Callable
from random import Random

from twins.memory_bucket import Faults

from sim.world import Host, World

_CALM_AT_FIRST_S = 4.0
CLOCK_JUMP_MS = 45 * 60_000
"""Less than message.timestamp.after.max.ms, so that a client's clock stays acceptable."""


class FaultSchedule:
    """`run` goes on until cancelled; `heal` makes the world perfect, processes excepted."""

    clock_jump_max_ms = CLOCK_JUMP_MS

    def __init__(self, world: World) -> None:
        self._world = world
        self._options = world.options.faults
        self._rng = Random(f"faults {world.options.seed}")
        self._stops: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """For ever: a phase after the other; the first seconds are calm, so that there is something to break."""
        await asyncio.sleep(_CALM_AT_FIRST_S)
        while True:
            self.heal()
            length_s = self._rng.uniform(*self._options.phase_s)
            if self._rng.random() < self._options.calm:
                self._world.trace.note("fault", f"calm for {length_s:.1f} s")
            else:
                count = self._rng.randint(1, self._options.together_max)
                for begin in self._rng.sample(self.kinds(), count):
                    begin(self)
            await asyncio.sleep(length_s)

    def heal(self) -> None:
        """No fault of disk or bucket is left."""
        world = self._world
        for host in world.hosts:
            faults = host.disk_faults
            faults.write_fails = faults.write_slow = 0.0
            faults.is_full = False
        for bucket in world.ways_to_bucket():
            bucket.unavailable = bucket.timeout_applied = bucket.timeout_lost = bucket.conflict = 0.0
            bucket.conflict_applied = bucket.short_read = bucket.corrupt_read = bucket.slow = 0.0
            bucket.outage = bucket.denied = False

    def kinds(self) -> "list[Callable[[FaultSchedule], None]]":
        """What may happen, as often as it is to."""
        return _KINDS

    def _buckets(self) -> list[Faults]:
        """The ways to the bucket that the present fault is about."""
        return self._world.ways_to_bucket()

    def _host(self) -> Host:
        return self._rng.choice(self._world.hosts)

    def _rate(self) -> float:
        return self._rng.uniform(0.0, self._options.rate)

    def _note(self, text: str) -> None:
        self._world.trace.note("fault", text)

    def _bucket(self, name: str) -> None:
        rate = self._rate()
        for bucket in self._buckets():
            setattr(bucket, name, rate)
        self._note(f"bucket {name} {rate:.3f}")

    def _bucket_timeouts(self) -> None:
        timeout_s = self._rng.uniform(0.1, 5.0)
        for bucket in self._buckets():
            bucket.timeout_s = timeout_s
        self._bucket("timeout_applied")
        self._bucket("timeout_lost")

    def _bucket_outage(self) -> None:
        for bucket in self._buckets():
            bucket.outage = True
        self._note("bucket outage")

    def _bucket_denied(self) -> None:
        """Only for a process that serves: a starting one is right to give up."""
        if all(host.process is not None and host.process.is_serving for host in self._world.hosts):
            for bucket in self._buckets():
                bucket.denied = True
            self._note("bucket denies access")

    def _disk_slow(self) -> None:
        faults = self._host().disk_faults
        faults.write_slow, faults.slow_s = 0.5, self._rng.choice((0.02, 0.5))
        self._note(f"disk slow, up to {faults.slow_s} s")

    def _disk_fails(self) -> None:
        self._host().disk_faults.write_fails = rate = self._rate() / 10
        self._note(f"disk writes fail {rate:.4f}")

    def _disk_full(self) -> None:
        self._host().disk_faults.is_full = True
        self._note("disk full")

    def _clock_jump(self) -> None:
        host = self._host()
        far_ms = self.clock_jump_max_ms
        jump_ms = self._rng.randint(-far_ms, far_ms) // 2
        host.clock.offset_ms += jump_ms if abs(host.clock_drift_ms + jump_ms) <= far_ms else -jump_ms
        self._note(f"clock of node {host.node_id} is off by {host.clock_drift_ms} ms")

    def _kill_at_effect(self) -> None:
        process = self._host().process
        if process is not None and not process.fate.dies_at:
            process.fate.dies_at = process.fate.count + self._rng.randint(1, 40)
            process.fate.applied = self._rng.random() < 0.5
            self._note(f"dies at effect {process.fate.dies_at}, applied={process.fate.applied}")

    def _kill_soon(self) -> None:
        host = self._host()
        delay_s = self._rng.uniform(0.0, self._options.phase_s[0])
        self._note(f"kill in {delay_s:.2f} s")
        asyncio.get_running_loop().call_later(delay_s, host.kill)

    def _stop(self) -> None:
        self._stops.append(asyncio.get_running_loop().create_task(self._host().stop()))


def _bucket_kind(name: str) -> Callable[[FaultSchedule], None]:
    return lambda schedule: schedule._bucket(name)


_KINDS: list[Callable[[FaultSchedule], None]] = [
    *map(_bucket_kind, ("unavailable", "conflict", "conflict_applied", "short_read", "corrupt_read", "slow")),
    FaultSchedule._bucket_timeouts,
    FaultSchedule._bucket_outage,
    FaultSchedule._bucket_denied,
    FaultSchedule._disk_slow,
    FaultSchedule._disk_fails,
    FaultSchedule._disk_full,
    FaultSchedule._clock_jump,
    *[FaultSchedule._kill_at_effect] * 3,
    *[FaultSchedule._kill_soon] * 2,
    FaultSchedule._stop,
]

__all__ = ["CLOCK_JUMP_MS", "FaultSchedule"]
