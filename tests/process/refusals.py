"""A start that must be refused: the real process, its exit code, and the one line that it leaves for the user."""

from twins.broker_process import BrokerProcess
from twins.child_process import wait_until

REFUSED = 1


def refusal(broker: BrokerProcess, *, timeout_s: float = 30) -> str:
    """Start it, wait for its end, and return its one line on the reason; anything else fails."""
    process = broker.spawn()
    wait_until(lambda: not process.is_running, timeout_s, f"the start is refused:\n{process.log()}")
    log = process.log()
    assert process.exit_code == REFUSED, log
    assert "Traceback" not in log, log
    lines = [line for line in log.splitlines() if line.startswith("automq: ")]
    assert len(lines) == 1, log
    return lines[0]
