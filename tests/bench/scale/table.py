"""The metadata figures of several sizes side by side, as Markdown."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bench.scale.cluster import Size

Figures = Mapping[str, float]

_UPLOAD_INTERVAL_S = 60.0
_HEARTBEAT_S = 2.0

_LINES: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("snapshot, MiB", lambda f: f"{f['snapshot_mib']:.1f}"),
    ("storing it: CPU s; longest step ms", lambda f: f"{f['encode_s']:.1f}; {f['encode_step_ms']:.0f}"),
    ("loading it: CPU s; longest step ms", lambda f: f"{f['load_s']:.1f}; {f['load_step_ms']:.0f}"),
    ("memory of a copy, MiB; while loading", lambda f: f"{f['follower_mib']:.0f}; {f['load_peak_mib']:.0f}"),
    (
        "after a client asked for all topics, MiB; CPU s of the first answer",
        lambda f: f"{f['all_topics_mib']:.0f}; {f['all_topics_s']:.1f}",
    ),
    ("a partition opened: CPU us of the controller", lambda f: f"{f['open_controller_us']:.1f}"),
    (
        "a partition opened: CPU us and bytes of a follower",
        lambda f: f"{f['open_follower_us']:.1f}; {f['open_bytes']:.0f}",
    ),
    ("longest step of a batch of 5 000, ms", lambda f: f"{f['open_batch_step_ms']:.0f}"),
    ("one upload of one broker: ranges; KiB", lambda f: f"{f['upload_ranges']:.0f}; {f['upload_kib']:.0f}"),
    (
        "one upload: CPU ms of the controller; of a follower",
        lambda f: f"{f['upload_controller_ms']:.1f}; {f['upload_follower_ms']:.1f}",
    ),
    ("a heartbeat: KiB; CPU ms to read it", lambda f: f"{f['heartbeat_kib']:.1f}; {f['heartbeat_ms']:.2f}"),
    ("one follower's poll and answer: CPU us without the socket", lambda f: f"{f['tail_us']:.0f}"),
)

_TOTALS: tuple[tuple[str, Callable[[Size, Figures], str]], ...] = (
    (
        "all partitions written to, uploads each 60 s: uploads/s",
        lambda s, f: f"{s.brokers / _UPLOAD_INTERVAL_S:.1f}",
    ),
    (
        "controller: share of a core for uploads; for heartbeats",
        lambda s, f: (
            f"{s.brokers / _UPLOAD_INTERVAL_S * f['upload_controller_ms'] / 1000:.0%}; "
            f"{s.brokers / _HEARTBEAT_S * f['heartbeat_ms'] / 1000:.0%}"
        ),
    ),
    (
        "controller: MiB/s to all followers",
        lambda s, f: f"{s.brokers**2 / _UPLOAD_INTERVAL_S * f['upload_kib'] / 1024:.1f}",
    ),
    (
        "each follower: share of a core; MiB/s",
        lambda s, f: (
            f"{s.brokers / _UPLOAD_INTERVAL_S * f['upload_follower_ms'] / 1000:.1%}; "
            f"{s.brokers / _UPLOAD_INTERVAL_S * f['upload_kib'] / 1024:.2f}"
        ),
    ),
)


def metadata_table(sizes: Sequence[Size], found: Sequence[Figures]) -> Iterator[str]:
    """Measured lines, then what follows from them for a cluster in which every partition is written to."""
    names = " | ".join(f"{size.brokers:,} brokers, {size.partitions:,} partitions" for size in sizes)
    yield f"| metadata | {names} |"
    yield "|---|" + "---|" * len(sizes)
    yield "| ranges per partition | " + " | ".join(str(size.ranges) for size in sizes) + " |"
    for title, show in _LINES:
        yield f"| {title} | " + " | ".join(show(figures) for figures in found) + " |"
    for title, work_out in _TOTALS:
        cells = (work_out(size, figures) for size, figures in zip(sizes, found, strict=True))
        yield f"| {title} | " + " | ".join(cells) + " |"


__all__ = ["metadata_table"]
