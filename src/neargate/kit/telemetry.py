"""Structured logs: one JSON object a line on stderr (or plain text on a terminal), without secrets.

Called by `main` once; everyone else uses `logging.getLogger(__name__)` and passes `extra={...}`.
"""

import json
import logging
import re
import sys
from typing import Any

_SECRET = re.compile(r"secret|password|passwd|authorization|token|credential|private_?key", re.I)
"""Names of extras whose values are never written, should somebody pass one by mistake."""
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extras = {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
        line.update({k: "(withheld)" if _SECRET.search(k) else v for k, v in extras.items()})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    else:
        handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # These write requests' headers and URLs, in which credentials travel.
    for name in ("httpx", "httpcore", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
