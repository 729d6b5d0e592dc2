"""The usage the demo bills: real requests to language models, as CloudEvents."""

import csv
import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("azure_llm_2023.csv.gz")
EVENT_TYPE = "azure_llm_2023"
SIZE = 28_185
BATCH = 250


def events() -> list[dict[str, Any]]:
    """Every event, out of order in time and in the same order on every run."""
    with gzip.open(FILE, "rt", newline="") as lines:
        return sorted(map(_event, csv.DictReader(lines)), key=lambda event: sha256(event["id"].encode()).digest())


def bodies() -> Iterator[tuple[int, bytes]]:
    """The requests to send: how many events, and the JSON."""
    everything = events()
    for start in range(0, len(everything), BATCH):
        batch = everything[start : start + BATCH]
        yield len(batch), json.dumps(batch).encode()


def _event(row: dict[str, str]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": row["event_id"],
        "source": f"trace/{EVENT_TYPE}",
        "type": EVENT_TYPE,
        "subject": row["customer"],
        "time": row["timestamp"],
        "data": {
            "service": row["service"],
            "input_tokens": int(row["input_tokens"]),
            "output_tokens": int(row["output_tokens"]),
        },
    }
