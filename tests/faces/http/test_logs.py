"""The log of a service, as whoever reads it sees it."""

import io
import json
import logging
import threading

import pytest

from interlock.faces.http import logs


class Pipe(io.BytesIO):
    """An output whose reader can stand still."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.reached = threading.Event()
        self.open.set()

    def write(self, data):
        self.reached.set()
        self.open.wait(10)
        return super().write(data)

    def lines(self):
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def pipe():
    return Pipe()


@pytest.fixture
def handler(pipe):
    handler = logs.Lines(lambda text: text.replace("canary", "[redacted]"), pipe)
    yield handler
    pipe.open.set()
    handler.close()


def warn(handler, text, **more):
    handler.handle(logging.LogRecord("interlock.http", logging.WARNING, "", 0, text, None, None))


def test_lines_are_objects_in_the_order_of_what_happened_and_hold_no_secret(handler, pipe):
    for number in range(50):
        warn(handler, f"{number} canary")
    handler.flush()
    assert [line["message"] for line in pipe.lines()] == [f"{number} [redacted]" for number in range(50)]
    assert {(line["level"], line["logger"]) for line in pipe.lines()} == {("warning", "interlock.http")}


def test_a_call_is_the_fields_that_telemetry_gave(handler, pipe):
    record = logging.LogRecord("interlock.calls", logging.INFO, "", 0, "{}", None, None)
    record.interlock = {"event": "tool_call", "tool": "kb.read"}
    handler.handle(record)
    handler.flush()
    assert pipe.lines()[0].items() >= {"event": "tool_call", "tool": "kb.read", "level": "info"}.items()


def test_a_reader_that_stands_still_holds_up_nobody_and_is_told_what_it_missed(handler, pipe):
    pipe.open.clear()
    warn(handler, "first")
    assert pipe.reached.wait(10)  # the thread writes it, and stands still
    for number in range(logs.MOST + 3):
        warn(handler, f"{number}")
    pipe.open.set()
    handler.close()
    said = [line["message"] for line in pipe.lines()]
    assert said[:2] == ["first", "0"]
    assert said[-2:] == [f"{logs.MOST - 1}", "3 lines were not written: standard error is read too slowly"]


def test_what_waits_at_the_end_is_written(handler, pipe):
    warn(handler, "last words")
    handler.close()
    assert [line["message"] for line in pipe.lines()] == ["last words"]
