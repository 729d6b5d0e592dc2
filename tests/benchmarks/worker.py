"""The other side of a measurement, in a process of its own: posts over HTTP, or writes to the database directly.

`python -m tests.benchmarks.worker PLAN`: prepares everything the plan asks for, prints "ready", waits for a line, runs,
and prints what it saw as JSON. Knows nothing of Django.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tests.benchmarks.poster import Poster
from tests.benchmarks.stream import Stream

COPY = "COPY meters_event (key, subject_id, event_type_id, time, properties) FROM STDIN BINARY"
INSERT = "INSERT INTO meters_event (key, subject_id, event_type_id, time, properties) VALUES (%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: `batches` of `batch` events, numbered from `first`, for `seconds` at most.

    `rate`: batches a second, sent on time whether or not earlier ones were answered; 0: as fast as they are answered.
    """

    kind: str
    batch: int
    first: int
    batches: int
    seconds: float
    starting_at: str
    port: int = 0
    path: str = ""
    secret: str = ""
    connections: int = 1
    rate: float = 0
    prepared: bool = True  # before the start; too much for the memory is made on the way


@dataclass(slots=True)
class Seen:
    """What was done. Times are of the clock all processes of a machine share."""

    started: float = 0
    ended: float = 0
    events: int = 0
    latencies: list[float] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def _post(plan: Plan, stream: Stream) -> Callable[[], Seen]:
    kind = "application/cloudevents-batch+json" if plan.batch > 1 else "application/cloudevents+json"
    if plan.path.startswith("/naive"):
        kind = "application/json"
    head = f"POST {plan.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {plan.secret}\r\n"
    head += f"Content-Type: {kind}\r\nContent-Length: "
    made = (head.encode() + b"%d\r\n\r\n" % len(body) + body for body in stream.bodies(plan.first, plan.batches))
    requests = list(made) if plan.prepared else made
    poster = Poster(plan.port, requests, connections=plan.connections, rate=plan.rate)

    def run() -> Seen:
        started = time.monotonic()
        poster.run(plan.seconds)
        answers = {str(status): count for status, count in poster.answers.items()}
        good = sum(count for status, count in poster.answers.items() if status < 300)
        refused = [each.decode(errors="replace") for each in poster.refused]
        return Seen(started, poster.last_answer, good * plan.batch, poster.latencies, answers, refused)

    return run


def _write(plan: Plan, stream: Stream) -> Callable[[], Seen]:
    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    prepared: Sequence[Any] = (
        list(stream.copies(plan.first, plan.batches)) if plan.kind == "copy" else list(_parameters(plan, stream))
    )

    def copy(buffer: bytes) -> None:
        with connection.cursor() as cursor, cursor.copy(COPY) as writing:
            writing.write(buffer)

    def insert(row: tuple[Any, ...]) -> None:
        with connection.cursor(binary=True) as cursor:
            cursor.execute(INSERT, row, prepare=True)

    write: Callable[[Any], None] = copy if plan.kind == "copy" else insert

    def run() -> Seen:
        seen = Seen(started=time.monotonic())
        until = seen.started + plan.seconds
        for each in prepared:
            write(each)
            seen.events += plan.batch
            seen.ended = time.monotonic()
            if seen.ended >= until:
                break
        return seen

    return run


def _parameters(plan: Plan, stream: Stream) -> Iterator[tuple[Any, ...]]:
    """Single rows, with the same contents as COPY's."""
    for number in range(plan.first, plan.first + plan.batches):
        for key, one, text, _ in stream.rows(number):
            time_ = stream.second(number) + timedelta(microseconds=one.microsecond)
            yield UUID(bytes=key), one.customer + 1, one.type + 1, time_, Jsonb(text.decode(), dumps=str)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    stream = Stream(plan.batch, datetime.fromisoformat(plan.starting_at))
    run = _post(plan, stream) if plan.kind == "post" else _write(plan, stream)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(run())), flush=True)


if __name__ == "__main__":
    main()
