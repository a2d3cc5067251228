"""A network between the machine and a server: a namespace of the run's own behind a pair of interfaces with a set rate.

Or, where the kernel cannot delay packets, a program between them that delays requests, as the way to S3 does.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench import programs
from bench.outcome import NotMeasured

_BURST = "256kb"
_QUEUE_TIME = "50ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a server listens, the command that runs it there, and what its requests and answers meet on their way.

    `delay_ms` 0 is no delay; `connection_bytes_per_s` is what one connection carries at most, if there is a delay.
    """

    host: str
    run_by: Sequence[str] = ()
    delay_ms: int = 0
    connection_bytes_per_s: int = 0


LOOPBACK = Link(host="127.0.0.1")
FAR = Link(host="127.0.0.1", delay_ms=30, connection_bytes_per_s=90_000_000)
"""As S3 is seen from EC2: 30 ms to the first byte, 85 to 90 MB/s in one connection."""


@contextmanager
def reached_over(link: Link, endpoint: str) -> Iterator[str]:
    """The endpoint at which a server of that link is reached."""
    if not link.delay_ms:
        yield endpoint
        return
    server = urlsplit(endpoint)
    options = (server.hostname, server.port, link.delay_ms, link.connection_bytes_per_s)
    line = programs.command("far_store", *map(str, options))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as program:
        try:
            assert program.stdout is not None
            yield f"http://127.0.0.1:{int(program.stdout.readline())}"
        finally:
            program.kill()


@contextmanager
def slow_link(rate: str) -> Iterator[Link]:
    """A namespace whose answers leave at `rate` (as tc writes it). Raises NotMeasured where none can be made."""
    number = os.getpid() % 250
    name, here, there = f"bench{number}", f"bench{number}a", f"bench{number}b"
    subnet = f"10.213.{number}"
    inside = ("ip", "netns", "exec", name)
    try:
        _ask("ip", "netns", "add", name)
    except (OSError, subprocess.CalledProcessError) as refused:
        raise NotMeasured(f"no network namespace can be made: {refused}") from refused
    try:
        _ask("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _ask("ip", "address", "add", f"{subnet}.1/30", "dev", here)
        _ask("ip", "link", "set", here, "up")
        _ask(*inside, "ip", "address", "add", f"{subnet}.2/30", "dev", there)
        _ask(*inside, "ip", "link", "set", there, "up")
        _ask(*inside, "ip", "link", "set", "lo", "up")
        _ask(
            *inside,
            "tc",
            "qdisc",
            "add",
            "dev",
            there,
            "root",
            "tbf",
            "rate",
            rate,
            "burst",
            _BURST,
            "latency",
            _QUEUE_TIME,
        )
        yield Link(host=f"{subnet}.2", run_by=inside)
    finally:
        # The pair would outlive the namespace by a moment, and be in the way of the next one.
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", name], check=False)


def _ask(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


__all__ = ["FAR", "LOOPBACK", "Link", "reached_over", "slow_link"]
