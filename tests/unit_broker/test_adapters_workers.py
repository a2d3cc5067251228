"""Threads for CPU work: bounded, and an error is the caller's."""

import asyncio
import threading

import pytest
from automq_broker.adapters.clock import SystemClock
from automq_broker.adapters.loop import raise_open_files_limit, run_loop
from automq_broker.adapters.workers import ThreadWorkers


def test_work_runs_off_the_loop_and_its_result_comes_back() -> None:
    async def scenario() -> None:
        workers = ThreadWorkers(2)
        assert await workers.run(lambda a, b: (a + b, threading.current_thread() is threading.main_thread()), 1, 2) == (
            3,
            False,
        )
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
        workers.close()

    asyncio.run(scenario())


def test_no_more_than_allowed_runs_or_waits_inside() -> None:
    async def scenario() -> None:
        workers, gate, running = ThreadWorkers(2, queued_max=1), threading.Event(), []
        tasks = [asyncio.ensure_future(workers.run(lambda: (running.append(1), gate.wait(5)))) for _ in range(8)]
        await asyncio.sleep(0.05)
        assert len(running) == 2
        gate.set()
        await asyncio.gather(*tasks)
        assert len(running) == 8
        workers.close()

    asyncio.run(scenario())


def test_a_cancelled_waiter_leaves_its_place_when_the_work_ends() -> None:
    async def scenario() -> None:
        workers, gate = ThreadWorkers(1, queued_max=0), threading.Event()
        task = asyncio.ensure_future(workers.run(gate.wait, 5))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        assert await asyncio.wait_for(workers.run(lambda: 1), 5) == 1
        workers.close()

    asyncio.run(scenario())


def test_the_process_loop_is_uvloop_where_it_is_installed() -> None:
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run_loop(which()).startswith("uvloop")


def test_clocks_and_limits_of_this_machine() -> None:
    clock = SystemClock()
    assert clock.now_ms() > 1_700_000_000_000
    assert clock.monotonic() <= clock.monotonic()
    assert raise_open_files_limit() > 0
