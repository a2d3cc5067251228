"""Network disks: each outlives the machines, is attached to one process at a time, and can be taken away from a live one."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from random import Random

from automq_broker.kernel.errors import Corrupt
from automq_operator.world import Proof
from twins.engine_world import Fate
from twins.memory_wal import WalFaults

from sim.bucket import SimBucket
from sim.disk import SimWal

Done = Callable[[BaseException | None], None]


class AttachedWal(SimWal):
    """A volume as one process has it. The disk works on while that process is stopped; its answers wait for it."""

    context: Context
    is_pulled = False

    def __init__(self, volume: "Volume", fate: Fate, seed: int) -> None:
        super().__init__(platter=volume.platter, faults=volume.faults, seed=seed, handle=volume.handle)
        self.fate = fate
        self.volume = volume
        self._answers: deque[tuple[Done, BaseException | None]] = deque()

    def write(self, position: int, data: memoryview, done: Done) -> None:
        """See WalDevice.write."""
        super().write(position, data, lambda error: self._answer(done, error))

    def read_blocking(self, position: int, length: int) -> memoryview:
        """See MemoryWal."""
        if self.is_pulled:
            raise Corrupt(f"WAL volume: position {position} cannot be read: EIO, it is not attached")
        return super().read_blocking(position, length)

    def pull(self, chance: Random) -> None:
        """It is attached here no more: what is in flight may be torn, and every write fails from now on."""
        for write in self._in_flight:
            self._tear(write, chance, chance.choice((0.0, 0.5, 1.0)))
        self.is_failed = self.is_pulled = True

    def _pump(self) -> None:
        Context().run(super()._pump)  # the disk belongs to nobody

    def _answer(self, done: Done, error: BaseException | None) -> None:
        """ORDER: a device answers in the order of the writes, also to a process that was stopped meanwhile."""
        self._answers.append((done, error))
        if len(self._answers) == 1:
            asyncio.get_running_loop().call_soon(self._hand_over, context=self.context.copy())

    def _hand_over(self) -> None:
        while self._answers:
            done, error = self._answers[0]
            done(error)
            self._answers.popleft()


class Volume:
    """The disk itself. `holder` is the uid of what it is attached for, alive or not; None if it is free."""

    proof_without = Proof.DETACHED

    def __init__(self, handle: str, size_bytes: int, latency_s: float, note: Callable[[str], None]) -> None:
        self.handle = handle
        self.platter = bytearray(size_bytes)
        self.image = bytes(self.platter)
        """What was on it when it was last attached."""
        self.faults = WalFaults(latency_s=latency_s)
        self.holder: str | None = None
        self._device: AttachedWal | None = None
        self._note = note

    def another(self, handle: str, platter: bytes) -> "Volume":
        """One in its place with this on it: faults are of the place."""
        made = Volume(handle, len(platter), self.faults.latency_s, self._note)
        made.platter[:] = platter
        made.faults = self.faults
        return made

    def attach(self, uid: str, bucket: SimBucket, seed: int) -> AttachedWal:
        """For a process that is about to run."""
        assert self.holder is None, "a volume is attached once"
        self.holder = uid
        self.image = bytes(self.platter)
        self._device = AttachedWal(self, bucket.fate, seed)
        self._device.on_write = lambda position, length, error: self._note(f"{uid} {position} {length} {error or ''}")
        return self._device

    def is_held_by(self, uid: str) -> bool:
        """Whether it is attached for this process."""
        return self.holder == uid

    def ended(self, device: AttachedWal, seed: int, *, stays_attached: bool = False) -> None:
        """The process is gone: the platter keeps what was durable and a torn rest."""
        if device is not self._device:
            return
        device.power_cut(seed=seed)
        self._device = None
        if not stays_attached:
            self.holder = None

    def release(self, seed: int) -> None:
        """By force, whoever has it."""
        if self._device is not None:
            self._device.pull(Random(seed))
            self._device = None
        self.holder = None


__all__ = ["AttachedWal", "Volume"]
