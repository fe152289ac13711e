"""What a service logs: one line of JSON for each call, each stop, and whatever an operator should look at.

Not the audit: nothing here is evidence, and what has not been written yet is lost with its process. Law: standard
error, one object a line, in the order of what happened; what was lent is in none of it, whoever wrote it; whoever reads
too slowly holds up no call, and is told how many lines that cost.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

EVERY = 0.05  #: seconds until a line is written
MOST = 20_000  #: lines that wait to be written

_encode = msgspec.json.Encoder().encode
_TOLD = ("interlock.calls", "interlock.stops")  #: redacted where they are made


class Lines(logging.Handler):
    """To standard error, by a thread of its own, so that a call waits for no reader."""

    def __init__(self, redact: Callable[[str], str], out: BinaryIO | None = None) -> None:
        super().__init__(logging.INFO)
        self._redact = redact
        self._out = out or sys.stderr.buffer
        self._traces = logging.Formatter()
        self._waiting: deque[logging.LogRecord] = deque()
        self._lost = 0
        self._over = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._work, name="interlock-log", daemon=True).start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        if len(self._waiting) >= MOST:
            self._lost += 1
        else:
            self._waiting.append(record)

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            lost, self._lost = self._lost, 0
            if lost:
                said = f"{lost} lines were not written: standard error is read too slowly"
                waiting.append(logging.LogRecord(__name__, logging.WARNING, __file__, 0, said, None, None))
            if waiting:
                self._out.write(b"".join([self._line(record) + b"\n" for record in waiting]))
                self._out.flush()

    def close(self) -> None:
        """Write what waits, and no more."""
        self._over.set()
        self.flush()
        super().close()

    def _work(self) -> None:
        while not self._over.wait(EVERY):
            try:
                self.flush()
            except (OSError, ValueError):  # nobody reads any more
                return

    def _line(self, record: logging.LogRecord) -> bytes:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        if record.name in _TOLD:
            return _encode({**head, **record.interlock})  # type: ignore[attr-defined]
        said = {**head, "message": self._redact(record.getMessage())}
        if record.exc_info:
            said["trace"] = self._redact(self._traces.formatException(record.exc_info))
        return _encode(said)


def begin(redact: Callable[[str], str]) -> None:
    """Log so from now on: ours from INFO on, everybody else's from WARNING on."""
    ours, root = logging.getLogger("interlock"), logging.getLogger()
    for handler in [*ours.handlers]:
        ours.removeHandler(handler)
    ours.propagate = True
    ours.setLevel(logging.INFO)
    root.addHandler(Lines(redact))
    root.setLevel(logging.WARNING)
