"""Logs: one line per event, whatever is in it."""

import io
import json
import logging

import pytest
from automq_broker.adapters.logging_setup import FloodGuard, set_up_logging
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _restore_logging():
    root, ours = logging.getLogger(), logging.getLogger("automq")
    before = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def _log(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(level=level, form=form, stream=stream)  # type: ignore[arg-type]
    return stream


def test_an_event_is_a_line_of_words_and_facts() -> None:
    stream = _log("text")
    logging.getLogger("automq.front").info(
        "slow request", extra={"api": "Produce", "ms": 12.5, "client_id": None, "who": "a b"}
    )
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'info automq.front slow request api=Produce ms=12.5 who="a b"\n'


def test_machines_get_json() -> None:
    stream = _log("json")
    logging.getLogger("automq.x").warning("full", extra={"bytes": 7, "is_hot": True, "topic": "t\n{}"})
    row = json.loads(stream.getvalue())
    assert (row["level"], row["logger"], row["event"], row["bytes"], row["is_hot"]) == (
        "warning",
        "automq.x",
        "full",
        7,
        True,
    )
    assert row["topic"] == "t\\n{}"


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_with_its_trace_is_still_one_line(form: str) -> None:
    stream = _log(form)
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("automq.x").exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "ValueError: a" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=600), st.sampled_from(["text", "json"]))
def test_no_text_breaks_a_line_or_grows_it(text: str, form: str) -> None:
    stream = _log(form)
    logging.getLogger("automq.x").error("event", extra={"client_id": text})
    line = stream.getvalue()
    assert len(line.splitlines()) == 1
    assert len(line) < 6000
    assert all(c.isprintable() or c in " \n" or ord(c) > 255 for c in line)


def test_levels_are_ours_and_others_only_warn() -> None:
    stream = _log("text", level="debug")
    logging.getLogger("automq.x").debug("shown")
    logging.getLogger("botocore").info("hidden")
    logging.getLogger("botocore").warning("shown too")
    assert len(stream.getvalue().splitlines()) == 2


def test_a_flood_is_cut_and_errors_are_not() -> None:
    guard = FloodGuard()
    record = logging.makeLogRecord({"name": "automq.x", "msg": "again", "levelno": logging.INFO})
    assert sum(guard.filter(record) for _ in range(1000)) == 50
    other = logging.makeLogRecord({"name": "automq.x", "msg": "again", "levelno": logging.ERROR})
    assert all(guard.filter(other) for _ in range(1000))
