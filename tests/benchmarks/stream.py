"""Made-up usage, as request bodies and as rows for COPY: no two events alike, and quick to make.

10,000 customers of which some use far more than others, 5 event types, 8 models in 4 regions, 250 bytes of JSON.
"""

import json
import random
import struct
import uuid
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate

CUSTOMERS = 10_000
SKEW = 0.8
TYPES = 5
MODELS = 8
REGIONS = ("eu-west", "eu-north", "us-east", "ap-south")
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
TEMPLATES = 50
NUMBER = "@@@@@@@@"
SECOND = "####-##-##T##:##:##"
PACE = 100_000  # events a second, by the clock in the events
RUN = 1_000_000  # runs are numbered from a multiple of this: each begins at the same time


def month_before(now: datetime) -> datetime:
    """The benchmarks' month: it is over, so nothing in it lies ahead."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first - timedelta(days=1)).replace(day=1)


def customer_key(number: int) -> str:
    return f"customer-{number:05d}"


def event_type(number: int) -> str:
    return f"llm.{number}"


@dataclass(frozen=True, slots=True)
class Made:
    customer: int
    type: int
    microsecond: int
    properties: str


class Stream:
    """Batches of `batch` events. Events are numbered: the same number gives the same identity."""

    def __init__(self, batch: int, starting_at: datetime) -> None:
        self.batch = batch
        self.starting_at = starting_at
        self._random = random.Random(batch)  # noqa: S311
        weights = list(accumulate(1 / (rank + 1) ** SKEW for rank in range(CUSTOMERS)))
        many = max(TEMPLATES, 2000 // batch)
        self._made = [[self._one(weights) for _ in range(batch)] for _ in range(many)]

    def bodies(self, first: int, count: int) -> Iterator[bytes]:
        for number in range(first, first + count):
            template = self._templates[number % len(self._templates)]
            second = self.second(number).isoformat()[:19].encode()
            yield template.replace(NUMBER.encode(), b"%08x" % number).replace(SECOND.encode(), second)

    def copies(self, first: int, count: int) -> Iterator[bytes]:
        """Buffers for COPY ... (key, subject_id, event_type_id, time, properties) FROM STDIN BINARY."""
        row = struct.Struct(">hi16siiiiiqiB").pack
        for number in range(first, first + count):
            second = (self.second(number) - EPOCH) // timedelta(microseconds=1)
            rows = [
                row(5, 16, key, 4, one.customer + 1, 4, one.type + 1, 8, second + one.microsecond, size + 1, 1) + text
                for key, one, text, size in self.rows(number)
            ]
            yield b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"".join(rows) + b"\xff\xff"

    def rows(self, number: int) -> Iterator[tuple[bytes, Made, bytes, int]]:
        made = self._made[number % len(self._made)]
        keys = random.Random(number).randbytes(16 * len(made))  # noqa: S311
        for place, one in enumerate(sorted(made, key=lambda each: each.microsecond)):
            text = one.properties.encode()
            yield keys[16 * place : 16 * place + 16], one, text, len(text)

    def second(self, number: int) -> datetime:
        return self.starting_at + timedelta(seconds=number % RUN * self.batch // PACE)

    @cached_property
    def _templates(self) -> list[bytes]:
        templates = []
        for made in self._made:
            events = ",".join(self._json(one) for one in made)
            templates.append((f"[{events}]" if self.batch > 1 else events).encode())
        return templates

    def _json(self, one: Made) -> str:
        rest = str(uuid.UUID(int=self._random.getrandbits(128)))[8:]
        return (
            f'{{"specversion":"1.0","id":"{NUMBER}{rest}","source":"api","type":"{event_type(one.type)}",'
            f'"subject":"{customer_key(one.customer)}","time":"{SECOND}.{one.microsecond:06d}Z",'
            f'"data":{one.properties}}}'
        )

    def _one(self, weights: list[float]) -> Made:
        draw = self._random
        properties = {
            "model": f"model-{draw.randrange(MODELS)}",
            "region": draw.choice(REGIONS),
            "input_tokens": draw.randrange(1, 5000),
            "output_tokens": draw.randrange(1, 2000),
        }
        return Made(
            customer=bisect(weights, draw.random() * weights[-1]),
            type=draw.randrange(TYPES),
            microsecond=draw.randrange(1_000_000),
            properties=json.dumps(properties, separators=(",", ":")),
        )
