"""Logs: one line per event, for people as key=value or for machines as JSON.

Call sites write a fixed event and give facts as `extra={...}`; the facts become keys. Texts from outside (client ids,
topic names) cannot break a line or flood it: control characters are escaped, long values cut. Payloads and secrets are
never given to a log call in the first place.
"""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

_VALUE_MAX = 256
_TRACE_MAX = 8000
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_BARE = re.compile(r"[A-Za-z0-9_.:/@%+*\-\[\]<>|,~]+")

_WINDOW_S = 10.0
_EVENTS_PER_WINDOW = 50


def set_up_logging(
    *, level: str = "info", form: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> logging.Handler:
    """Send every event of `level` and above to `stream` (standard error), replacing earlier handlers."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(FloodGuard())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    return handler


def set_level(level: str) -> None:
    """From now on every event of `level` and above is logged."""
    for ours in ("automq", "automq_broker"):
        logging.getLogger(ours).setLevel(level.upper())


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What the call site gave as `extra`, and the error if there is one, in the order given."""
    found = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        found["error"] = f"{type(error).__name__}: {error}"
        found["trace"] = logging.Formatter().formatException(record.exc_info)
    return found


class TextLines(logging.Formatter):
    """time level logger event key=value ..."""

    def format(self, record: logging.LogRecord) -> str:
        """One line without a line break."""
        words = [_time(record), record.levelname.lower(), record.name, _cut(record.getMessage(), "event")]
        words += [f"{key}={_quoted(value, key)}" for key, value in facts(record).items() if value is not None]
        return " ".join(words)


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, logger, event, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII."""
        row: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _cut(record.getMessage(), "event"),
        }
        for key, value in facts(record).items():
            row.setdefault(key, value if isinstance(value, bool | int | float | None) else _cut(str(value), key))
        return json.dumps(row, default=str)


class FloodGuard(logging.Filter):
    """Lets an event through at most 50 times in ten seconds, and says how many were left out. Errors always pass."""

    def __init__(self) -> None:
        super().__init__()
        self._window_start = 0.0
        self._seen: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the event is written."""
        if record.levelno >= logging.ERROR:
            return True
        now = time.monotonic()
        key = (record.name, str(record.msg))
        if now - self._window_start > _WINDOW_S:
            left_out = self._seen.get(key, 0) - _EVENTS_PER_WINDOW
            self._window_start, self._seen = now, {}
            if left_out > 0:
                record.left_out_before = left_out
        self._seen[key] = count = self._seen.get(key, 0) + 1
        return count <= _EVENTS_PER_WINDOW


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cut(text: str, key: str) -> str:
    limit = _TRACE_MAX if key == "trace" else _VALUE_MAX
    shortened = text if len(text) <= limit else text[: limit - 1] + "…"
    if shortened.isprintable() and "\\" not in shortened:
        return shortened
    return "".join(map(_safe, shortened))


def _safe(character: str) -> str:
    if character == "\\":
        return "\\\\"
    return character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()


def _quoted(value: Any, key: str) -> str:
    text = _cut(str(value), key)
    return text if _BARE.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


__all__ = ["FloodGuard", "JsonLines", "TextLines", "set_level", "set_up_logging"]
