"""Six error families, one per remedy. Rooms raise them; desk/ alone turns them into Kafka error codes."""


class AutomqError(Exception):
    """Root of the project's errors; never raised itself."""


class ClientFault(AutomqError):
    """The request is wrong; answer it with `code` (a Kafka error code) and go on."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or f"kafka error {code}")
        self.code = code
        self.message = message


class Retry(AutomqError):
    """Not now: the same call may succeed after `delay_s` seconds (throttled store, full ring, loading)."""

    def __init__(self, message: str, delay_s: float = 0.1) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class NotMine(AutomqError):
    """Another node owns this, or the caller's view is old: refresh the metadata and ask again."""


class Fenced(AutomqError):
    """A newer epoch exists: stop serving now and end the process."""


class Corrupt(AutomqError):
    """Bytes that must be right are wrong: stop, keep the evidence, say exactly which ranges."""


class Refused(AutomqError):
    """The start or the command is refused for a reason the user can mend; one clear line."""


class Bug(AutomqError):
    """An invariant of ours does not hold: crash rather than go on."""


class CloseConnection(AutomqError):
    """The only answer left is to close the client's connection (acks=0 with an error, Kafka's rule)."""


__all__ = ["AutomqError", "Bug", "ClientFault", "CloseConnection", "Corrupt", "Fenced", "NotMine", "Refused", "Retry"]
