"""`automq up`: a whole cluster on this machine, with the operator that watches it."""

import asyncio
import contextlib
import fcntl
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from automq_broker.contract import admin

from automq_operator import loop
from automq_operator.broker_api import BrokerApi, NoAnswerError, RefusedError
from automq_operator.decide.values import FailoverPolicy, Policy
from automq_operator.platforms.local.fleet import Fleet
from automq_operator.platforms.local.layout import Layout, lay_out, split_setting
from automq_operator.platforms.local.platform import LocalPlatform
from automq_operator.report.screen import PlainReport, ScreenReport

_INTERVAL_S: Final = 1.0
_BROKERS_MAX: Final = 64
_STOP_S: Final = 60.0
_ANNOUNCE_S: Final = 3.0

# Nothing on a laptop restarts a dead broker by itself, so nothing is gained by waiting for it.
_POLICY: Final = Policy(failover=FailoverPolicy(restart_grace_s=0.0))


@click.command(
    name="up",
    epilog="""\b
Examples:
  automq up                         three brokers on 127.0.0.1:9092 to 9094, data in ./data
  automq up --brokers 5 --port 19092 --data /var/tmp/q
  automq up --bucket 's3://my-bucket?region=eu-west-1' --wal s3     no disk at all
  automq up --set num.partitions=12 --set 1:broker.rack=a --set 2:broker.rack=b --set 3:broker.rack=b
  kill -9 one of them in another terminal, and watch its log being drained beside a survivor
""",
)
@click.option("--brokers", type=click.IntRange(1, _BROKERS_MAX), default=3, show_default=True, help="How many.")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Directory for everything."
)
@click.option("--bucket", metavar="URI", help="s3://name?region=... or a directory; a directory in DATA by default.")
@click.option(
    "--wal",
    type=click.Choice(["file", "s3"]),
    default="file",
    show_default=True,
    help="Write-ahead logs as files below DATA, or in the bucket.",
)
@click.option("--port", type=click.IntRange(1, 65000), default=9092, show_default=True, help="Kafka port of broker 1.")
@click.option(
    "--set",
    "settings",
    metavar="[N:]KEY=VALUE",
    multiple=True,
    help="A setting of every broker, or of broker N alone; repeatable.",
)
def command(brokers: int, data: Path, bucket: str | None, wal: str, port: int, settings: tuple[str, ...]) -> None:
    """Run a whole cluster: brokers as processes, and an operator that recovers those that die.

    Ctrl-C stops all brokers in order, a second one at once. On the same data a second `automq up` goes on.
    """
    for setting in settings:
        _check_setting(setting, brokers)
    data.mkdir(parents=True, exist_ok=True)
    with _only_one(data):
        kind = ("s3.wal.path=s3",) if wal == "s3" else ()
        layout = lay_out(data, brokers=brokers, bucket=bucket, port=port, settings=(*kind, *settings))
        if settings:
            _check_settings(layout)
        raise SystemExit(asyncio.run(_run(layout)))


def _check_setting(setting: str, brokers: int) -> None:
    try:
        node_id, _ = split_setting(setting)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from None
    if node_id is not None and not 1 <= node_id <= brokers:
        raise click.BadParameter(f"{setting!r} is for broker {node_id}; there are 1 to {brokers}", param_hint="--set")


def _check_settings(layout: Layout) -> None:
    """Ask the brokers' own program, before one after the other is started and ends at once. Raises ClickException."""
    command = [sys.executable, "-m", "automq_broker", "config", "--config"]
    different = {tuple(layout.settings_of(node_id)): layout.properties_file(node_id) for node_id in layout.ports}
    asked = [
        subprocess.Popen([*command, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for file in different.values()
    ]
    said = [process.communicate()[1].strip() for process in asked]
    for process, line in zip(asked, said, strict=True):
        if process.returncode:
            raise click.ClickException(line.removeprefix("automq: "))


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the data directory; a second operator on it would decide against the first."""
    (data / "up").mkdir(exist_ok=True)
    with (data / "up" / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.ClickException(f"another `automq up` runs on {data}") from None
        yield


async def _run(layout: Layout) -> int:
    ended, stop = asyncio.Event(), asyncio.Event()
    pages = {node: ("127.0.0.1", ports.admin) for node, ports in layout.ports.items()}
    api = BrokerApi(pages, layout.token_file.read_text().strip())
    fleet = Fleet(layout, api, ended)
    platform = LocalPlatform(layout, fleet, api)
    forced = _on_signals(stop)
    heading = f"Kafka {layout.bootstrap}   data {layout.data}   Ctrl-C stops"
    with _reporter(heading, platform) as reporter:
        turns = asyncio.create_task(
            loop.run(platform, reporter, _POLICY, now=time.time, wake=ended, interval_s=_INTERVAL_S), name="operator"
        )
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({turns, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        turns.cancel()
        await asyncio.gather(turns, return_exceptions=True)
        failure = None if turns.cancelled() else turns.exception()
    await _announce_stop(fleet, api)
    await _stop_all(fleet, forced)
    if failure is not None:
        raise failure
    return 0


@contextlib.contextmanager
def _reporter(heading: str, platform: LocalPlatform) -> Iterator[PlainReport | ScreenReport]:
    if sys.stdout.isatty():
        with ScreenReport(heading, lambda: platform.figures) as screen:
            yield screen
        return
    print(heading, flush=True)
    yield PlainReport()


def _on_signals(stop: asyncio.Event) -> asyncio.Event:
    """The first SIGINT or SIGTERM sets `stop`, the second one the event that is returned."""
    forced = asyncio.Event()

    def handle() -> None:
        (forced if stop.is_set() else stop).set()

    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, handle)
    return forced


async def _announce_stop(fleet: Fleet, api: BrokerApi) -> None:
    """All brokers stop: each is to keep its partitions. One that does not know it hands them over, which is no harm."""
    question = admin.StopClusterRequest(seconds=round(_STOP_S))
    asked = [*fleet.answering, *(node_id for node_id in fleet.alive() if node_id not in fleet.answering)]
    with contextlib.suppress(NoAnswerError, RefusedError, TimeoutError):
        async with asyncio.timeout(_ANNOUNCE_S):
            await api.change(asked, admin.STOP_CLUSTER, admin.ClusterStopping, question)


async def _stop_all(fleet: Fleet, forced: asyncio.Event) -> None:
    """All brokers at once; each flushes. What is killed instead is recovered at the next start."""
    alive = fleet.alive()
    print(f"stopping {len(alive)} brokers; Ctrl-C again kills them, which loses nothing", flush=True)
    for node_id in alive:
        fleet.brokers[node_id].signal(signal.SIGTERM)
    force = asyncio.create_task(forced.wait(), name="force")
    ends = {asyncio.create_task(_stopped(fleet, node_id), name=f"stop of {node_id}") for node_id in alive}
    deadline = time.monotonic() + _STOP_S
    while ends and not force.done() and time.monotonic() < deadline:
        done, _ = await asyncio.wait({*ends, force}, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
        ends -= done
    force.cancel()
    for node_id in fleet.alive():
        print(f"broker {node_id} is killed; its log is recovered at the next start", flush=True)
        fleet.brokers[node_id].signal(signal.SIGKILL)
    await asyncio.gather(*ends)


async def _stopped(fleet: Fleet, node_id: int) -> None:
    await fleet.brokers[node_id].wait()
    print(f"broker {node_id}: {fleet.brokers[node_id].how_it_ended()}", flush=True)


__all__ = ["command"]
