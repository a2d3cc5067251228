"""`make chaos MINUTES=n`: a cluster is hurt for n minutes while clients use it; their histories must hold no anomaly.

    make chaos MINUTES=10                     half of the time on a directory, half on an S3 server
    make chaos MINUTES=10 SEED=7 ARGS="--bucket s3"

The same seed draws the same faults and settings; what each of them meets depends on the machine. Exit code 0: no anomaly,
and after each fault the cluster was whole again within a minute.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos import figures
from chaos.checker import Anomaly, check
from chaos.clients import NumberingProducer
from chaos.cluster import NODES, TOPIC, Cluster, Wound, cluster
from chaos.faults import SUDDEN, draw
from chaos.history import History, Polled, Recorder, Role, load
from twins.child_process import ChildProcess

_PARTITIONS = 12
_PRODUCERS = 2
_LIVENESS_S = 60.0
_PROBE_NUMBER = 99
_LONGEST_S = 60.0
_WARM_UP_S = 2.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a run showed. `problems` are liveness: what was not whole in time."""

    seed: int
    settings: list[str]
    wounds: list[Wound] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    acked: int = 0
    polled: int = 0

    @property
    def is_clean(self) -> bool:
        """Nothing was wrong, and enough was done to say so."""
        return not self.anomalies and not self.problems


def say(text: str) -> None:
    """One line, at once."""
    print(time.strftime("%H:%M:%S "), text, flush=True)


def run(directory: Path, *, seed: int, seconds: float, has_s3: bool, rate: float) -> Outcome:
    """One cluster, hurt again and again for so long, then left alone, read to its end, and judged."""
    rng = Random(seed)
    outcome = Outcome(seed=seed, settings=_draw_settings(rng))
    say(f"seed {seed}, bucket {'on S3' if has_s3 else 'in a directory'}, {' '.join(outcome.settings)}")
    histories = directory / "histories"
    histories.mkdir(parents=True)
    with cluster(directory, has_s3=has_s3, settings=outcome.settings) as hurt:
        hurt.make_topic(_PARTITIONS)
        with _clients(histories, hurt, rate) as end_producers:
            time.sleep(_WARM_UP_S)
            _hurt_it(hurt, rng, outcome, histories, seconds)
            end_producers()
            _read_to_the_end(histories, hurt)
        code = hurt.up.stop()
        if code:
            outcome.problems.append(f"automq up ended with {code}")
    _judge(outcome, [load(path) for path in sorted(histories.glob("*.jsonl"))], seconds * rate)
    return outcome


def _draw_settings(rng: Random) -> list[str]:
    """Uploads now rare, now all the time: what is in the log at a fault differs."""
    return [
        f"s3.wal.upload.interval.ms={rng.choice([1000, 5000, 60_000])}",
        f"s3.wal.upload.threshold={rng.choice([256 << 10, 8 << 20, 32 << 20])}",
    ]


@contextmanager
def _clients(histories: Path, hurt: Cluster, rate: float) -> Iterator[Callable[[], None]]:
    """Producers, a reader and a group of two; yields what ends the producers. All have ended behind the block."""
    producers = [
        _client(histories, hurt, Role.PRODUCER, f"producer-{number}", str(number), str(rate / _PRODUCERS))
        for number in range(_PRODUCERS)
    ]
    consumers = [
        _client(histories, hurt, role, name)
        for role, name in ((Role.READER, "reader"), (Role.MEMBER, "member-1"), (Role.MEMBER, "member-2"))
    ]

    def end_producers() -> None:
        for each in producers:
            each.terminate(150)

    try:
        yield end_producers
        for each in consumers:
            each.terminate(60)
    finally:
        for each in (*producers, *consumers):
            each.kill()


def _client(histories: Path, hurt: Cluster, role: Role, name: str, *more: str) -> ChildProcess:
    history, log = histories / f"{name}.jsonl", histories / f"{name}.log"
    command = [sys.executable, "-m", "chaos.clients", role, str(history), hurt.up.bootstrap, TOPIC, str(_PARTITIONS)]
    path = str(Path(__file__).resolve().parents[1])
    return ChildProcess([*command, *more], log_path=log, environment={"PYTHONPATH": path})


def _read_to_the_end(histories: Path, hurt: Cluster) -> None:
    last = _client(histories, hurt, Role.LAST, "last")
    last.wait_ready(lambda: not last.is_running, 150)


def _hurt_it(hurt: Cluster, rng: Random, outcome: Outcome, histories: Path, seconds: float) -> None:
    """Fault after fault; each must be over, for everybody, before the next one comes."""
    recorder = Recorder(histories / "probe.jsonl", Role.PRODUCER)
    probe = NumberingProducer(hurt.up.bootstrap, TOPIC, recorder, _PROBE_NUMBER)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not outcome.problems:
        longest_s = max(2.0, min(_LONGEST_S, seconds / 6, deadline - time.monotonic()))
        fault = draw(rng, NODES, has_s3=hurt.has_s3, longest_s=longest_s)
        if fault is None:
            time.sleep(rng.uniform(1, 4))
            continue
        say(str(fault))
        wound = hurt.hurt(fault)
        outcome.wounds.append(wound)
        _wait_whole(hurt, probe, wound, outcome)
        time.sleep(rng.uniform(0, 2))
    probe.end()
    recorder.close()


def _wait_whole(hurt: Cluster, probe: NumberingProducer, wound: Wound, outcome: Outcome) -> None:
    """Until every broker serves and every partition takes a record; what is not so in a minute is a problem."""
    deadline = wound.ended + _LIVENESS_S
    for partition in range(_PARTITIONS):
        probe.send(partition)
    while probe.unanswered or not hurt.is_well():
        probe.poll(0.1)
        if time.monotonic() > deadline:
            stuck = f"{_LIVENESS_S:.0f} s after {wound.fault}: {probe.unanswered} partitions do not take a record"
            outcome.problems += [stuck, *hurt.picture()]
            return


def _judge(outcome: Outcome, histories: list[History], wanted: float) -> None:
    outcome.anomalies = check(histories)
    found = figures.answers(histories)
    outcome.acked = len(found)
    outcome.polled = sum(len(event.offsets) for each in histories for event in each.events if isinstance(event, Polled))
    if outcome.acked < wanted / 4:
        outcome.problems.append(
            f"only {outcome.acked} records were acknowledged of about {wanted:.0f}: too little was done"
        )
    ends = [wound.began for wound in outcome.wounds[1:]] + [found[-1].acked if found else 0.0]
    for wound, end in zip(outcome.wounds, ends, strict=True):
        since = wound.began if wound.fault.kind in SUDDEN else wound.ended
        recovered = figures.recovery_s(found, since)
        shown = "never" if recovered is None else f"{recovered:6.2f} s"
        stall = figures.stall_s(found, wound.began, end)
        outcome.table.append(f"{shown} to write everywhere, {stall:6.2f} s longest stall   {wound.fault}")


def show(outcome: Outcome, directory: Path) -> None:
    """The report of one run."""
    for line in outcome.table:
        say(line)
    say(f"{outcome.acked} records acknowledged, {outcome.polled} delivered, {len(outcome.wounds)} faults")
    for kind, count in Counter(each.kind for each in outcome.anomalies).items():
        first = next(each for each in outcome.anomalies if each.kind is kind)
        say(f"ANOMALY {kind}: {count} times; partition {first.partition}: {first.detail}")
    for problem in outcome.problems:
        say(f"PROBLEM {problem}")
    say(f"seed {outcome.seed}: " + ("clean" if outcome.is_clean else f"NOT CLEAN; everything is in {directory}"))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed if it is not given")
    parser.add_argument("--bucket", choices=("both", "directory", "s3"), default="both")
    parser.add_argument("--rate", type=float, default=600.0, help="records per second, all producers together")
    arguments = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    kinds = {"both": (False, True), "directory": (False,), "s3": (True,)}[arguments.bucket]
    is_clean = True
    for has_s3 in kinds:
        directory = Path(tempfile.mkdtemp(prefix="automq-chaos-"))
        seconds = arguments.minutes * 60 / len(kinds)
        outcome = run(directory, seed=seed, seconds=seconds, has_s3=has_s3, rate=arguments.rate)
        show(outcome, directory)
        is_clean = is_clean and outcome.is_clean
        if outcome.is_clean:
            shutil.rmtree(directory)
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
