"""What people read: one line per seed, and everything that is needed to look into a failure."""

from collections.abc import Iterator

from sim.run import Outcome


def line_of(outcome: Outcome) -> str:
    """One line."""
    counts = ", ".join(f"{value} {name}" for name, value in outcome.counts.items())
    verdict = "ok" if outcome.violation is None else "FAILED"
    return f"seed {outcome.options.seed}: {verdict}; {counts}; trace {outcome.digest}"


def failure_of(outcome: Outcome) -> Iterator[str]:
    """The options, the history of faults, the last events, the violation, and how to see it again."""
    yield "options:"
    yield from (f"  {line}" for line in outcome.options.lines())
    yield "the last faults:"
    yield from (f"  {line}" for line in outcome.faults[-25:])
    yield "the last events:"
    yield from (f"  {line[:200]}" for line in outcome.recent[-25:])
    yield f"VIOLATION: {outcome.violation}"
    brokers = f" --brokers {cluster.brokers}" if (cluster := outcome.options.cluster) else ""
    yield f"again: automq sim{brokers} --seed {outcome.options.seed} --minutes {outcome.options.minutes:g} --verbose"


__all__ = ["failure_of", "line_of"]
