"""What a copy of the metadata costs: storing a snapshot, loading it, keeping it. Each in a process of its own."""

import gc
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from automq_broker.adapters.loop import settle_collector
from automq_broker.meta.snapshots import decode_snapshot, encode_snapshot, restore
from automq_broker.meta.state import State
from twins.meta_world import CLUSTER_ID

from bench.scale.cluster import MIB, Size, cluster_of
from bench.scale.costs import command_costs


def store(size: Size, file: Path) -> dict[str, float]:
    """Make a cluster, store its snapshot in `file`, and say what commands cost at that size."""
    state = cluster_of(size)
    settle_collector()
    begun = time.process_time()
    pieces, longest = _steps(encode_snapshot(state))
    figures = {"encode_s": time.process_time() - begun, "encode_step_ms": longest * 1000}
    file.write_bytes(b"".join(pieces))
    figures |= {"snapshot_mib": file.stat().st_size / MIB}
    follower = decode_snapshot(file.read_bytes(), CLUSTER_ID)
    settle_collector()
    return figures | command_costs(state, follower, size.brokers)


def load(file: Path) -> dict[str, float]:
    """What a follower pays for its copy, and for the first client that asks for all topics."""
    settle_collector()
    data = file.read_bytes()
    before, state, begun = _resident_mib() - len(data) / MIB, State(CLUSTER_ID), time.process_time()
    _, longest = _steps(restore(state, data))
    figures = {"load_s": time.process_time() - begun, "load_step_ms": longest * 1000}
    figures |= {"load_peak_mib": _resident_mib() - before}
    del data
    gc.collect()
    figures |= {"follower_mib": _resident_mib() - before}
    begun = time.process_time()
    for topic in state.topics():
        assert topic.partitions
    return figures | {"all_topics_s": time.process_time() - begun, "all_topics_mib": _resident_mib() - before}


def _steps(work: Iterable[Any]) -> tuple[list[Any], float]:
    """What an iteration yields, and the CPU seconds of its longest step: so long the loop of a broker stands still."""
    found, longest, before = [], 0.0, time.process_time()
    for each in work:
        now = time.process_time()
        longest = max(longest, now - before)
        found.append(each)
        before = time.process_time()
    return found, longest


def _resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


__all__ = ["load", "store"]
