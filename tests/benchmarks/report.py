"""What a benchmark says, as one JSON object or as a table."""

import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

Row = Sequence[object]


@dataclass(slots=True)
class Result:
    """`ratio` is product / limit in the unit's figure; at least `target` is wanted."""

    name: str
    scale: float
    product: dict[str, Any]
    limit: dict[str, Any]
    ratio: float
    target: float
    unit: str
    details: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def table(head: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def circumstances() -> str:
    cores = len(__import__("os").sched_getaffinity(0))
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cores} cores, Python {platform.python_version()}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
