"""What a service logs: one line of JSON for each call, each stop, and whatever an operator should look at.

Not the audit: nothing here is evidence, and a line may be lost with its process. Law: standard error, one object a
line, in the order of what happened; what was lent is in none of it, whoever wrote it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

_encode = msgspec.json.Encoder().encode
_TOLD = ("interlock.calls", "interlock.stops")  #: redacted where they are made


class Lines(logging.Handler):
    """To standard error."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(logging.INFO)
        self._redact = redact
        self._traces = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging."""
        try:
            raw = self._line(record)
            sys.stderr.buffer.write(raw + b"\n")
            sys.stderr.buffer.flush()
        except Exception:
            self.handleError(record)

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
