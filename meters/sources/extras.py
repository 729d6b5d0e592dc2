"""Libraries that only some installations need."""

from importlib import import_module
from typing import Any

from meters.sources.lines import UnreadableError


def load(module: str, *, extra: str, purpose: str) -> Any:
    """The module, or a sentence that names what to install."""
    try:
        return import_module(module)
    except ImportError:
        raise UnreadableError(
            f"{purpose} needs {module.partition('.')[0]}: install countinghouse[{extra}].", code="missing_extra"
        ) from None
