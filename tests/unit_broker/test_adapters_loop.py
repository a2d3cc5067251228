"""What a signal to stop comes to when the process cannot end in order: it ends all the same."""

import signal
import subprocess
import sys
import time

_PROGRAM = """
import asyncio, os, signal, sys, threading, time
from automq_broker.adapters.loop import on_stop_signals, run_loop

async def main():
    stopping = asyncio.Event()
    on_stop_signals(stopping.set, limit_s=0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    await stopping.wait()
    {hang}

run_loop(main())
"""


def ends(hang: str) -> tuple[int, str, float]:
    """Exit code, what was said, and seconds of a program that is told to stop and then does `hang`."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(hang=hang)], capture_output=True, text=True, timeout=50, check=False
    )
    return done.returncode, done.stderr, time.monotonic() - begun


def test_a_process_that_ends_in_order_is_left_alone() -> None:
    assert ends("return")[0] == 0


def test_a_loop_that_hangs_does_not_keep_the_process() -> None:
    code, told, seconds = ends("time.sleep(60)")
    assert code == 1
    assert "the orderly stop took too long" in told
    assert seconds < 30


def test_a_thread_that_hangs_while_the_process_ends_does_not_keep_it() -> None:
    code, told, _ = ends("threading.Thread(target=time.sleep, args=(60,)).start()")
    assert code == 1
    assert "the orderly stop took too long" in told


def test_output_that_nobody_reads_does_not_keep_the_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(hang="[sys.stderr.write('x' * 70000) for _ in range(9)]")],
        stderr=subprocess.PIPE,
    ) as child:
        assert child.wait(50) == -signal.SIGALRM
