"""Java's properties format, so that a user's own server.properties is read as Kafka reads it.

Source: java.util.Properties.load: comments with # and !, separators = : and blanks, backslash escapes, \\uXXXX,
and lines continued by an odd number of backslashes at their end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from automq_broker.kernel.errors import Refused

_BLANK = " \t\f"
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One key with its value and the line it starts on, counted from 1."""

    key: str
    value: str
    line: int


def parse_properties(source: str) -> list[Property]:
    """Every key in file order; a key given twice is there twice. Raises Refused on a bad escape."""
    return [_split(line, number) for number, line in _logical_lines(source)]


def _logical_lines(source: str) -> Iterator[tuple[int, str]]:
    pending, started = "", 0
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", source), start=1):
        line = raw.lstrip(_BLANK)
        if not pending and (not line or line[0] in "#!"):
            continue
        if not pending:
            started = number
        if _is_continued(line):
            # A space keeps "pending" true for a line that is only a backslash; it is stripped with the key's blanks.
            pending = pending + line[:-1] or " "
            continue
        yield started, (pending + line).lstrip(_BLANK)
        pending = ""
    if pending.strip(_BLANK):
        yield started, pending.lstrip(_BLANK)


def _is_continued(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _split(line: str, number: int) -> Property:
    end = 0
    while end < len(line) and line[end] not in "=:" + _BLANK:
        end += 2 if line[end] == "\\" else 1
    rest = line[end:].lstrip(_BLANK)
    if rest[:1] in ("=", ":"):
        rest = rest[1:].lstrip(_BLANK)
    return Property(key=_unescape(line[:end], number), value=_unescape(rest, number), line=number)


def _unescape(text: str, number: int) -> str:
    def replace(match: re.Match[str]) -> str:
        escaped = match.group(1)
        if len(escaped) == 5:
            return chr(int(escaped[1:], 16))
        if escaped == "u":
            raise Refused(f"line {number}: \\u must be followed by four hexadecimal digits")
        return _ESCAPES.get(escaped, escaped)

    return _ESCAPE.sub(replace, text)


__all__ = ["Property", "parse_properties"]
