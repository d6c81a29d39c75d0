"""Writes structured logs: JSON lines that carry the ids of what they are about.

    bound(run=…, lease=…, problem=…) ─► every line logged inside, in tasks begun there too ─► to_stderr ─► JSON lines

In an actor the lines go to Ray's log of its worker process, where the dashboard and `ray logs` show them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

_ids: ContextVar[Mapping[str, object]] = ContextVar("berry_log_ids", default=MappingProxyType({}))


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Adds ids to what is logged inside; inner ones go before outer ones of the same name."""
    token = _ids.set({**_ids.get(), **ids})
    try:
        yield
    finally:
        _ids.reset(token)


class JsonLines(logging.Formatter):
    """One object a line: time (UTC), level, logger, message, the ids bound, and `ids` given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_ids.get(),
            **getattr(record, "ids", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def to_stderr(level: int = logging.INFO) -> None:
    """Sends what Berry's packages log to standard error as JSON lines. Calling it again changes nothing."""
    logger = logging.getLogger("berry")
    if any(isinstance(h.formatter, JsonLines) for h in logger.handlers):
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
