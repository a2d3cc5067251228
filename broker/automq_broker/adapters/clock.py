"""The system's clocks."""

import time


class SystemClock:
    """Wall time and monotonic time of this machine."""

    @staticmethod
    def now_ms() -> int:
        """Milliseconds since the Unix epoch; may jump."""
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)


__all__ = ["SystemClock"]
