"""What a provider says about machines that are silent, and when that is proof: the same answer twice, some time apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from automq_operator.world import Proof

APART_S: Final = 10.0
"""One answer may be about a reboot, or be older than it looks."""
_ASKED_EVERY_S: Final = 4.0
_KEPT_S: Final = 600.0


class MachineState(StrEnum):
    """What a provider says."""

    STOPPED = "stopped"
    """It does not run: stopped or terminated."""
    GONE = "gone"
    """The provider knows no such machine, and the volume in question is attached nowhere."""
    ALIVE = "alive"
    """Anything else, a machine that is about to stop included."""


class ProviderError(Exception):
    """The provider gives no answer, or refuses to; then nothing is known."""


class Provider(Protocol):
    """A cloud's API, as far as it is needed. Raises ProviderError."""

    async def state(self, machine: str, region: str | None, volume: str) -> MachineState:
        """`machine` is a node's providerID, `volume` the handle of the log in question."""

    async def terminate(self, machine: str, region: str | None) -> None:
        """End a machine for ever; one that has ended is no error."""


@dataclass(slots=True)
class _Seen:
    state: MachineState
    since: float
    at: float


class Verdicts:
    """Remembers answers. Lost with the process, it costs the time between two answers."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._seen: dict[str, _Seen] = {}

    async def proofs(
        self, suspects: Mapping[str, tuple[str, str]], present: frozenset[str], region: str | None, now: float
    ) -> dict[str, Proof]:
        """Proofs by host. `suspects` are machine and volume of hosts that are not ready; `present` those whose node is there.

        A provider that does not answer proves nothing.
        """
        self._seen = {key: each for key, each in self._seen.items() if now - each.at < _KEPT_S}
        found = {}
        for host, (machine, volume) in suspects.items():
            seen = await self._look(machine, region, volume, now)
            if seen is None or seen.state is MachineState.ALIVE or seen.at - seen.since < APART_S:
                continue
            found[host] = Proof.MACHINE_STOPPED if host in present else Proof.NODE_GONE
        return found

    async def _look(self, machine: str, region: str | None, volume: str, now: float) -> _Seen | None:
        seen = self._seen.get(machine)
        if seen is not None and now - seen.at < _ASKED_EVERY_S:
            return seen
        try:
            state = await self._provider.state(machine, region, volume)
        except ProviderError:
            self._seen.pop(machine, None)
            return None
        since = seen.since if seen is not None and seen.state is state else now
        self._seen[machine] = _Seen(state, since, now)
        return self._seen[machine]


__all__ = ["APART_S", "MachineState", "Provider", "ProviderError", "Verdicts"]
