"""Log lines as JSON objects, for `LLM_LOG_FORMAT=json`: one object on one line, whatever handler writes it.

The loggers are the process's, so this holds for all supervisors while one of them wants it. No handler is installed,
and no level set: that is the application's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import final

from ..providers import Line

LOGGERS = (
    "",
    *(f".{room}" for room in ("actors", "credentials", "gateway", "providers", "settings", "supervisor", "telemetry")),
)
"""What stands behind `understudy` in the names of the loggers that we write to: filters hold for one, not for those
beneath it."""

_FORMATTER = logging.Formatter()


@final
class _AsJSON(logging.Filter):
    """Makes a line of ours into an object, its traceback into a field."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; let all pass."""
        line = record.args[0] if isinstance(record.args, tuple) and len(record.args) == 1 else None
        if isinstance(line, Line) and self.wanted:
            at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            before: dict[str, object] = {"time": at, "level": record.levelname, "logger": record.name}
            if record.exc_info:
                line = Line(line.name, **line.fields, traceback=_FORMATTER.formatException(record.exc_info))
            record.msg, record.args, record.exc_info = line.as_json(**before), (), None
        return True


_as_json = _AsJSON()


@contextmanager
def json_lines() -> Iterator[None]:
    """Let the lines of this library be JSON for the body of a `with`."""
    for name in LOGGERS:
        logging.getLogger(f"understudy{name}").addFilter(_as_json)  # adding it again does nothing
    _as_json.wanted += 1
    try:
        yield
    finally:
        _as_json.wanted -= 1
