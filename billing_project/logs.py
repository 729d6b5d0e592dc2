"""Structured logs: one JSON object a line; secrets are blotted out."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

SECRETS = re.compile(
    r"(?i)(\bch_[a-z0-9]{8}_|\b[rs]k_(?:live|test)_|\bwhsec_|bearer\s+|(?:password|secret|token|api_key)[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s\"',;&]+"
)
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "request", "server_time", "taskName"}


def blot_out(text: str) -> str:
    return SECRETS.sub(r"\1***", text)


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return blot_out(super().format(record))


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: _shown(name, value) for name, value in line.items()}, ensure_ascii=False)


def _shown(name: str, value: object) -> object:
    if SECRETS.search(f"{name}=x"):
        return "***"
    return value if value is None or isinstance(value, bool | int) else blot_out(str(value))


def logging_config(*, json_lines: bool, level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {"()": JsonFormatter},
            "text": {"()": TextFormatter, "format": "{levelname} {name}: {message}", "style": "{"},
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json" if json_lines else "text"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": ["stderr"], "level": level, "propagate": False},
            # It would list every job of the schedule at the start of every command.
            "procrastinate.periodic": {"handlers": [], "level": "WARNING", "propagate": True},
        },
    }
