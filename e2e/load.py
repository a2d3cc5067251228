"""Clients that use a cluster while something happens to it, on librdkafka; what they saw is judged record by record.

They run on the network of one of the nodes, with its Services and the cluster's DNS, as an application beside Kafka does.
They are no pods, so that nothing which happens to Kubernetes ends them or loses what they saw.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from chaos.checker import check
from chaos.figures import answers, recovery_s, stall_s
from chaos.history import History, Polled, Role, load
from twins.child_process import ChildProcess

from e2e.cluster import layout, waiting
from e2e.cluster.layout import CONTROL_PLANE_IP, Node
from e2e.paths import ROOT

TOPIC = "numbers"
PARTITIONS = 12
PRODUCERS = 2
RATE = 300.0
"""Records per second of each producer, over all partitions in turn: one in each every 20 ms."""
PLACE = layout.node("b2")
"""Whose network they use. What is broken is broken elsewhere."""

_PRESSING = f"producer-{PRODUCERS}"
_WRITTEN_SECONDS = 0.5
"""Histories reach the disk in pieces: what is newer may be missing."""

# The shell is the client afterwards: signals reach it.
_IN_PLACE = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class Load:
    """Two idempotent producers, a reader and a group of two; `judge` ends them and says what the run was worth."""

    def __init__(self, folder: Path, bootstrap: str, *, place: Node = PLACE) -> None:
        self._folder = folder
        self._bootstrap = bootstrap
        self._place = place
        self._clients: dict[str, ChildProcess] = {}

    def start(self) -> None:
        """Make the topic, start everybody, and wait until records of all partitions were delivered. Raises TooLate."""
        self._folder.mkdir(parents=True)
        options = ["--partitions", str(PARTITIONS), "--if-not-exists", "--bootstrap-server", self._bootstrap]
        self._waited("topic", [*_MODULE, "automq_broker", "topic", "create", TOPIC, *options], seconds=60)
        for number in range(PRODUCERS):
            self._client(Role.PRODUCER, f"producer-{number}", str(number), str(RATE))
        for role, name in ((Role.READER, "reader"), (Role.MEMBER, "member-1"), (Role.MEMBER, "member-2")):
            self._client(role, name)
        waiting.until(self._is_delivered, f"records are delivered, see {self._folder}", seconds=60)

    def fill(self, mebibytes: int, *, broker: int) -> None:
        """So much more for that broker's log, as fast as it goes, in a topic of its own; all of it acknowledged."""
        self._waited("fill", [*_MODULE, "e2e.fill", self._bootstrap, str(mebibytes), str(broker)], seconds=180)

    def press(self, rate: float) -> None:
        """One more producer, of so many records per second, until `ease`."""
        self._client(Role.PRODUCER, _PRESSING, str(PRODUCERS), str(rate))

    def ease(self) -> None:
        """It waits for the fate of its records, and is gone."""
        self._clients.pop(_PRESSING).terminate(150)

    def writable_after(self, since: float, *, seconds: float) -> float:
        """Wait until every partition acknowledged a record sent after `since` (monotonic); how long that took from then."""
        found: list[float] = []

        def is_there() -> bool:
            recovered = recovery_s(answers(self._histories("producer-*")), since)
            found.extend([] if recovered is None else [recovered])
            return recovered is not None

        waiting.until(is_there, "every partition takes records", seconds=seconds, every_seconds=1.0)
        return found[0]

    def judge(self) -> None:
        """End the producers, let the consumers catch up, read the log to its end. Fails if anything was lost, doubled, or
        seen as it was not; and if too little was done to say so."""
        began = time.monotonic()
        for name in [each for each in self._clients if each.startswith("producer")]:
            self._clients.pop(name).terminate(150)
        self._client(Role.LAST, "last")
        last = self._clients.pop("last")
        last.wait_ready(lambda: not last.is_running, 150)
        for each in self._clients.values():
            each.terminate(60)
        histories = self._histories("*")
        anomalies = check(histories)
        first = {each.kind: f"partition {each.partition}: {each.detail}" for each in reversed(anomalies)}
        assert not anomalies, f"{Counter(each.kind for each in anomalies)}, {first}; see {self._folder}"
        acked = len(answers(histories))
        polled = sum(len(event.offsets) for one in histories for event in one.events if isinstance(event, Polled))
        assert polled >= acked > RATE
        print(f"{acked} records, each there once; judged in {time.monotonic() - began:.0f} s")

    def longest_stall(self, since: float) -> float:
        """The longest time since that moment (monotonic) in which some partition acknowledged nothing."""
        until = time.monotonic() - _WRITTEN_SECONDS  # before the histories are read, which takes seconds
        return stall_s(answers(self._histories("producer-*")), since, until)

    def end(self) -> None:
        """Whoever still runs is killed."""
        for each in self._clients.values():
            each.kill()

    def logs(self) -> str:
        """What the clients complained about."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self._folder.glob("*.log")))

    def _is_delivered(self) -> bool:
        """To the reader, and to the group."""
        return all(self._partitions_of(names) == PARTITIONS for names in ("reader", "member-*"))

    def _partitions_of(self, names: str) -> int:
        polled = [event for one in self._histories(names) for event in one.events if isinstance(event, Polled)]
        return len({event.partition for event in polled})

    def _histories(self, names: str) -> list[History]:
        """As far as they are on the disk: clients write them in pieces, the first one after a moment."""
        found = sorted(self._folder.glob(f"{names}.jsonl"))
        return [load(path) for path in found if path.stat().st_size]

    def _client(self, role: Role, name: str, *more: str) -> None:
        history = str(self._folder / f"{name}.jsonl")
        command = [*_MODULE, "chaos.clients", role, history, self._bootstrap, TOPIC, str(PARTITIONS), *more]
        self._clients[name] = self._run(name, command)

    def _waited(self, name: str, command: Sequence[str], *, seconds: float) -> None:
        done = self._run(name, command)
        try:
            waiting.until(lambda: not done.is_running, f"{name} is over", seconds=seconds)
            assert done.exit_code == 0, f"{name}: {done.log()}"
        finally:
            done.kill()

    def _run(self, name: str, command: Sequence[str]) -> ChildProcess:
        names = self._folder / "resolv.conf"
        names.write_text(f"nameserver {CONTROL_PLANE_IP}\nsearch svc.cluster.local cluster.local\noptions ndots:5\n")
        inside = ["nsenter", f"--net=/run/netns/{self._place.namespace}", "unshare", "--mount", "--propagation=private"]
        return ChildProcess(
            [*inside, "sh", "-c", _IN_PLACE, str(names), *command],
            log_path=self._folder / f"{name}.log",
            environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )


_MODULE = (sys.executable, "-m")

LoadOn = Callable[[str], Load]
"""load(BOOTSTRAP): clients that have begun; the fixture of e2e/conftest.py."""
