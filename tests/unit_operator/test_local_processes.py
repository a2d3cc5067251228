"""Processes under locks: what is alive, what is proven dead, and who recognises them later."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from automq_broker.cli import REFUSED, USAGE, run
from automq_operator.broker_api import BrokerApi
from automq_operator.platforms.local.fleet import Fleet
from automq_operator.platforms.local.layout import lay_out
from automq_operator.platforms.local.processes import LockedProcess, find, spawn
from automq_operator.world import AdopterState

SLEEPER = [sys.executable, "-c", "print('asleep', flush=True); import time; time.sleep(600)"]


def scenario(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(body())  # type: ignore[arg-type]


async def start(folder: Path, command: list[str] | None = None) -> LockedProcess:
    return await spawn(command or SLEEPER, lock=folder / "lock", log=folder / "log", about={"is": "a test"})


def test_a_running_process_is_found_by_its_lock_and_a_killed_one_is_proven_dead(tmp_path: Path) -> None:
    async def body() -> None:
        process = await start(tmp_path)
        later = find(tmp_path / "lock", tmp_path / "log")
        assert later is not None
        assert (later.uid, later.mark.about) == (process.uid, {"is": "a test"})
        assert later.is_alive()
        os.kill(process.mark.pid, signal.SIGKILL)
        await process.wait()
        assert not later.is_alive()
        assert not process.is_alive()
        assert process.how_it_ended() == "ended by SIGKILL"

    scenario(body)


def test_a_stopped_process_is_alive(tmp_path: Path) -> None:
    async def body() -> None:
        process = await start(tmp_path)
        os.kill(process.mark.pid, signal.SIGSTOP)
        later = find(tmp_path / "lock", tmp_path / "log")
        assert later is not None
        assert later.is_alive()
        process.signal(signal.SIGKILL)
        await process.wait()

    scenario(body)


def test_a_second_process_under_the_same_lock_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        process = await start(tmp_path)
        with pytest.raises(BlockingIOError):
            await start(tmp_path)
        process.signal(signal.SIGKILL)
        await process.wait()
        again = await start(tmp_path)
        assert again.uid != process.uid
        again.signal(signal.SIGKILL)
        await again.wait()

    scenario(body)


def test_an_end_with_a_code_is_told_with_the_last_line(tmp_path: Path) -> None:
    async def body() -> None:
        process = await start(tmp_path, [sys.executable, "-c", "import sys; print('no disk'); sys.exit(3)"])
        await process.wait()
        assert process.how_it_ended() == "ended with 3: no disk"

    scenario(body)


@pytest.mark.parametrize(
    ("last", "detail"),
    [
        ("bytes_left=85145420 bytes_total=268435456 seconds_left=9.2", "81.2 of 256.0 MiB are left, about 9 s"),
        ("bytes_left=268435456 bytes_total=268435456 seconds_left=null", "256.0 of 256.0 MiB are left"),
        ("the streams are closed", ""),
    ],
)
def test_an_adopter_at_work_says_what_is_left(tmp_path: Path, last: str, detail: str) -> None:
    async def body() -> None:
        layout = lay_out(tmp_path, brokers=2, bucket=None, port=21092, settings=())
        lock = layout.adopters / "2-7-1.lock"
        said = f"2026-11-26T03:08:25.792Z info automq.adopt draining {last}"
        about = {"node_id": 2, "broker_epoch": 5, "volume": "v", "granted_epoch": 7, "beside": 1, "attempt": 1}
        program = f"print({said!r}, flush=True); import time; time.sleep(600)"
        process = await spawn([sys.executable, "-c", program], lock=lock, log=lock.with_suffix(".log"), about=about)
        while not process.last_line():
            await asyncio.sleep(0.01)
        (seen,) = Fleet(layout, BrokerApi({}, ""), asyncio.Event()).seen_adopters()
        assert (seen.state, seen.detail) == (AdopterState.RUNNING, detail)
        process.signal(signal.SIGKILL)
        await process.wait()

    scenario(body)


def test_a_lock_whose_holder_is_gone_is_no_reason_to_signal_whoever_has_its_pid_now(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(f'{{"pid": {os.getpid()}, "started_at": 1.0, "about": {{}}}}')
    process = find(tmp_path / "lock", tmp_path / "log")
    assert process is not None
    process.signal(signal.SIGKILL)
    assert not process.is_alive()


def test_ports_and_secrets_of_an_earlier_run_stay(tmp_path: Path) -> None:
    first = lay_out(tmp_path, brokers=3, bucket=None, port=21092, settings=())
    token = first.token_file.read_text()
    again = lay_out(tmp_path, brokers=4, bucket=None, port=31092, settings=("num.partitions=7",))
    assert {node: again.ports[node] for node in (1, 2, 3)} == first.ports
    assert again.token_file.read_text() == token
    assert first.token_file.stat().st_mode & 0o077 == 0
    assert "num.partitions=7" in again.properties_file(4).read_text()
    numbers = [port for each in again.ports.values() for port in (each.kafka, each.internal, each.admin)]
    assert len(set(numbers)) == 12


def test_a_setting_of_one_broker_reaches_it_alone_and_wins_over_what_all_have(tmp_path: Path) -> None:
    settings = ("2:broker.rack=b", "broker.rack=a", "listeners=PLAINTEXT://127.0.0.1:1")
    layout = lay_out(tmp_path, brokers=2, bucket=None, port=21092, settings=settings)
    racks = [
        [line for line in layout.properties_file(node).read_text().splitlines() if line.startswith("broker.rack")][-1]
        for node in (1, 2)
    ]
    assert racks == ["broker.rack=a", "broker.rack=b"]
    assert "listeners=PLAINTEXT://127.0.0.1:1" in layout.properties_file(1).read_text()


@pytest.mark.parametrize("setting", ["4:broker.rack=b", "0:broker.rack=b", "broker.rack", "x:broker.rack=b"])
def test_a_setting_for_nobody_is_refused_before_anything_starts(
    tmp_path: Path, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["up", "--data", str(tmp_path / "data"), "--set", setting]) == USAGE
    assert repr(setting) in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("setting", ["num.partitions=0", "2:num.partition=3", "s3.wal.capacity=64MiB"])
def test_a_setting_that_no_broker_takes_is_one_line_and_nothing_is_started(
    tmp_path: Path, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["up", "--data", str(tmp_path), "--brokers", "2", "--set", setting]) == REFUSED
    said = capsys.readouterr().err
    assert setting.removeprefix("2:") in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("brokers/*/process.lock"))
