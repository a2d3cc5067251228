"""What makes a number believable: Little's law, and the read-back of every record that was acked."""

from pathlib import Path
from typing import Any

from bench import programs


def littles_law(shown: dict[str, Any], in_flight: float, *, tolerance: float) -> str:
    """Compare mean latency times throughput with what was in flight; returns an empty string or the complaint.

    An acker that acks what it has not written, or a loader that miscounts, breaks this law first.
    """
    acked_per_second = shown["acked"] / shown["seconds"]
    implied = acked_per_second * shown["latency_us"]["mean"] / 1e6
    if in_flight > 0 and abs(implied - in_flight) / in_flight > tolerance:
        return f"Little's law is broken: {implied:.1f} in flight implied, {in_flight:.1f} counted"
    return ""


def read_back(bootstrap: str, topic: str, *, partitions: int, messages: int, acked: Path) -> str:
    """Consume the topic to its end and compare it with the acked set; returns an empty string or the complaint."""
    found = programs.run(
        "rdkafka_load", "consume", bootstrap, topic, is_checked=False,
        messages=messages, partitions=partitions, acked=acked, **{"fetch_message_max_bytes": 8 << 20},
    )  # fmt: skip
    wrong = {key: found[key] for key in ("missing", "doubled", "corrupt", "errors") if found[key]}
    return f"read-back of {topic}: {wrong}" if wrong else ""
