"""The processes of one local cluster: brokers and adopters, how each looks from outside, and how they are started."""

import asyncio
import re
import signal
import sys
import time
from dataclasses import dataclass

from automq_operator.broker_api import BrokerApi
from automq_operator.platforms.local.layout import Layout
from automq_operator.platforms.local.processes import QUICK_END_S, LockedProcess, find, spawn
from automq_operator.steps import CreateAdopter
from automq_operator.world import Adopter, AdopterState, Instance, InstanceState, Proof, RecoveryKey

HOST = "this machine"
_SILENCE_S = 6.0
"""So long a broker may answer nothing before it is suspected; more than a breath under load."""
_START_GRACE_S = 60.0
"""So long a start may take before its silence is one."""
_DRAINING = re.compile(r" draining bytes_left=(\d+) bytes_total=(\d+)(?: seconds_left=([\d.]+))?")
"""What an adopter tells of itself once a second."""


@dataclass(slots=True)
class _Health:
    heard_at: float
    is_silent: bool = False
    since: float = 0.0
    quick_ends: int = 0
    counted: str = ""


class Fleet:
    """Belongs to one `automq up`, which holds the data directory's lock."""

    def __init__(self, layout: Layout, api: BrokerApi, ended: asyncio.Event) -> None:
        self._layout = layout
        self._api = api
        self._ended = ended
        self._health: dict[int, _Health] = {}
        self._waits: set[asyncio.Task[None]] = set()
        self.answering: list[int] = []
        """Brokers that answered at the last look: the others are not asked anything that could be waited for."""
        self.brokers: dict[int, LockedProcess] = {}
        self.adopters: dict[str, LockedProcess] = {}
        self._find_leftovers()

    def _find_leftovers(self) -> None:
        for node_id in self._layout.ports:
            folder = self._layout.broker(node_id)
            process = find(folder / "process.lock", folder / "broker.log")
            if process is not None:
                self.brokers[node_id] = process
        for lock in sorted(self._layout.adopters.glob("*.lock")):
            process = find(lock, lock.with_suffix(".log"))
            if process is not None:
                self.adopters[process.uid] = process

    def alive(self) -> list[int]:
        """Brokers whose process lives, answering or not."""
        return [node_id for node_id, process in sorted(self.brokers.items()) if process.is_alive()]

    async def look(self, now: float) -> list[Instance]:
        """Every broker's process as it is now."""
        alive = self.alive()
        healthy = dict(zip(alive, await asyncio.gather(*map(self._api.is_healthy, alive)), strict=True))
        self.answering = [node_id for node_id in alive if healthy[node_id]]
        return [
            self._instance(node_id, process, healthy.get(node_id, False), now)
            for node_id, process in sorted(self.brokers.items())
        ]

    def _instance(self, node_id: int, process: LockedProcess, is_healthy: bool, now: float) -> Instance:
        health = self._health.setdefault(node_id, _Health(heard_at=process.mark.started_at + _START_GRACE_S))
        state, since, detail, proof = InstanceState.RUNNING, process.mark.started_at, "", None
        if not process.is_alive():
            state, since, detail, proof = self._end_of(health, process)
        elif is_healthy:
            health.heard_at, health.is_silent = now, False
        elif now - health.heard_at > _SILENCE_S:
            if not health.is_silent:
                health.is_silent, health.since = True, now
            state, since, detail = InstanceState.SILENT, health.since, "its process lives and answers nothing"
        return Instance(
            node_id=node_id,
            uid=process.uid,
            host=HOST,
            state=state,
            since=since,
            proof=proof,
            detail=detail,
            quick_ends=health.quick_ends,
        )

    def _end_of(self, health: _Health, process: LockedProcess) -> tuple[InstanceState, float, str, Proof]:
        if health.counted != process.uid:
            health.counted = process.uid
            is_quick = process.ended_at - process.mark.started_at < QUICK_END_S
            health.quick_ends = health.quick_ends + 1 if is_quick else 0
        return InstanceState.ENDED, process.ended_at, process.how_it_ended(), Proof.PROCESS_ENDED

    async def start_broker(self, node_id: int) -> None:
        """Run it on its own volume. Nothing happens if it runs already."""
        process = self.brokers.get(node_id)
        if process is not None and process.is_alive():
            return
        folder = self._layout.broker(node_id)
        command = [
            sys.executable,
            "-m",
            "automq_broker",
            "serve",
            "--config",
            str(self._layout.properties_file(node_id)),
        ]
        started = await spawn(command, lock=folder / "process.lock", log=folder / "broker.log", about={})
        self.brokers[node_id] = started
        health = self._health.setdefault(node_id, _Health(heard_at=0.0))
        health.heard_at, health.is_silent = time.time() + _START_GRACE_S, False
        self._watch(started)

    async def create_adopter(self, step: CreateAdopter) -> None:
        """Start `automq adopt` for this rescue; the same attempt is started once.

        Where log and bucket are, and of which kind, it reads where the broker itself does.
        """
        key = step.key
        lock = self._layout.adopters / f"{key.node_id}-{step.granted_epoch}-{step.attempt}.lock"
        if lock.exists():
            return
        command = [sys.executable, "-m", "automq_broker", "adopt"]
        command += ["--node", str(key.node_id), "--broker-epoch", str(step.granted_epoch)]
        command += ["--config", str(self._layout.properties_file(key.node_id))]
        about = {
            "node_id": key.node_id,
            "broker_epoch": key.broker_epoch,
            "volume": key.volume,
            "granted_epoch": step.granted_epoch,
            "beside": step.beside,
            "attempt": step.attempt,
        }
        process = await spawn(command, lock=lock, log=lock.with_suffix(".log"), about=about)
        self.adopters[process.uid] = process
        self._watch(process)

    def delete_adopter(self, uid: str) -> None:
        """Forget an adopter; one that runs is ended, which costs its progress and nothing else."""
        process = self.adopters.get(uid)
        if process is None:
            return
        if process.is_alive():
            process.signal(signal.SIGKILL)
            return
        process.lock.unlink(missing_ok=True)
        del self.adopters[uid]

    def seen_adopters(self) -> list[Adopter]:
        """Every adopter that was not deleted."""
        return [_adopter(uid, process) for uid, process in sorted(self.adopters.items())]

    def _watch(self, process: LockedProcess) -> None:
        async def wait() -> None:
            await process.wait()
            self._ended.set()

        task = asyncio.create_task(wait(), name=f"end of {process.lock.parent.name}/{process.lock.name}")
        self._waits.add(task)
        task.add_done_callback(self._waits.discard)


def _adopter(uid: str, process: LockedProcess) -> Adopter:
    about = process.mark.about
    is_alive = process.is_alive()
    done = AdopterState.SUCCEEDED if process.exit_code == 0 else AdopterState.FAILED
    return Adopter(
        key=RecoveryKey(node_id=about["node_id"], broker_epoch=about["broker_epoch"], volume=about["volume"]),
        uid=uid,
        granted_epoch=about["granted_epoch"],
        beside=about["beside"],
        host=HOST,
        is_placed=True,
        state=AdopterState.RUNNING if is_alive else done,
        since=process.mark.started_at if is_alive else process.ended_at,
        attempt=about["attempt"],
        detail=_progress(process.last_line()) if is_alive else process.how_it_ended(),
    )


def _progress(line: str) -> str:
    """How far an adopter is, by the last line of its log; "" if that is about something else."""
    found = _DRAINING.search(line)
    if found is None:
        return ""
    left, total = (int(each) / (1 << 20) for each in found.group(1, 2))
    time_left = f", about {float(found[3]):.0f} s" if found[3] else ""
    return f"{left:.1f} of {total:.1f} MiB are left{time_left}"


__all__ = ["HOST", "Fleet"]
