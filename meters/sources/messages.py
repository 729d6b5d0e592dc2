"""What a Kafka message means: a CloudEvent in either of its two modes, our own events, or JSON under a mapping."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from meters.events import AHEAD, Event, Rejection, decode
from meters.exact_json import MalformedError, RefusedError, check, encode
from meters.sources.mapping import Bound, ColumnMapping, MappingError
from meters.sources.rows import read_object

HEADER = "ce_"


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> str:
        return f"topic {self.topic}, partition {self.partition}, offset {self.offset}"


def read_message(message: Message, mapping: ColumnMapping, now: datetime) -> list[Event | Rejection]:
    """The events of a message; a message that is none is one rejection."""
    body = (message.value or b"").decode(errors="backslashreplace")
    try:
        if mapping != ColumnMapping():
            return [_map(message, body, mapping, now)]
        attributes = _attributes(message.headers)
        decoded = decode(_with_data(attributes, body) if attributes else message.value or b"", now=now)
    except (MalformedError, RefusedError) as error:
        path = error.path if isinstance(error, RefusedError) else ""
        text = error.message.replace("The body", "The message").replace("The line", "The message")
        return [Rejection(0, "", path, error.code, f"{text} ({message.place})", body)]
    return [
        *decoded.events,
        *(
            Rejection(one.index, one.id, one.path, one.code, f"{one.message} ({message.place})", one.body)
            for one in decoded.rejected
        ),
    ]


def _map(message: Message, body: str, mapping: ColumnMapping, now: datetime) -> Event:
    row = read_object(message.offset, body)
    if row.problem:
        raise MalformedError(row.code, row.problem)
    check(row.cells, "")
    try:
        bound = _bound(mapping, tuple(row.cells), f"{message.topic}/{message.partition}")
    except MappingError as error:
        raise MalformedError("mapping", str(error)) from None
    return bound.event(row.cells, message.offset, now + AHEAD)


@lru_cache(maxsize=256)
def _bound(mapping: ColumnMapping, columns: tuple[str, ...], path: str) -> Bound:
    return mapping.bind(columns, path=path, ragged=True, placed=True)


def _attributes(headers: tuple[tuple[str, bytes], ...]) -> Mapping[str, str]:
    """The context attributes of CloudEvents' binary mode, where the value is the data alone."""
    given = {name.lower(): value for name, value in headers}
    if "ce_specversion" not in given:
        return {}
    return {
        name.removeprefix(HEADER): value.decode(errors="backslashreplace")
        for name, value in given.items()
        if name.startswith(HEADER)
    }


def _with_data(attributes: Mapping[str, Any], data: str) -> bytes:
    envelope = encode(attributes)
    return envelope[:-1] + b',"data":' + data.encode() + b"}" if data else envelope
