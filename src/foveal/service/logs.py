"""Logs as lines of JSON: what happened and how long it took; never an image, a prompt, a name or a token."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("foveal.service")
_SERVER = "uvicorn.error"
_FIELDS = "foveal_fields"


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC), level, event, and the fields of :func:`log`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; whatever it holds, it stays one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str) -> None:
    """Send the service's log, and that of its server, to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``. The server speaks from ``warning`` on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name, least in ((LOGGER.name, logging.DEBUG), (_SERVER, logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(max(least, logging.getLevelNamesMapping()[level.upper()]))


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Write one line.

    Args:
        event: what happened, a fixed word.
        level: of :mod:`logging`.
        error: its traceback goes into the field ``exception``.
        fields: plain values.
    """
    LOGGER.log(level, event, exc_info=error, extra={_FIELDS: fields})
