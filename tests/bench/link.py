"""A network between the machine and a server: a namespace of the run's own behind a pair of interfaces with a set rate."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.outcome import NotMeasured

_BURST = "256kb"
_QUEUE_TIME = "50ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a server listens, and the command that runs it there."""

    host: str
    run_by: Sequence[str]


LOOPBACK = Link(host="127.0.0.1", run_by=())


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


__all__ = ["LOOPBACK", "Link", "slow_link"]
