"""CloudEvents in binary mode: attributes in `ce-` headers, the data in the body. Pure.

The structured and the batch mode are our own format: see meters.events.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from meters.events import Decoded, make_event
from meters.exact_json import MalformedError, encode, split
from meters.wire.reading import Arrival, read_each

PREFIX = "ce-"


def is_binary(headers: Mapping[str, str], content_type: str) -> bool:
    named = "ce-specversion" in headers or "ce-id" in headers
    return named and not content_type.strip().lower().startswith("application/cloudevents")


def decode(headers: Mapping[str, str], body: bytes, arrival: Arrival) -> Decoded:
    """One event. Raises MalformedError."""
    attributes = {
        name.lower().removeprefix(PREFIX): _unquoted(name, value)
        for name, value in headers.items()
        if name.lower().startswith(PREFIX) and name.lower() != f"{PREFIX}data"
    }
    data, text = _data(body)
    sent = encode(attributes)[:-1].decode() + f',"data":{text}}}'
    raw: dict[str, Any] = {**attributes, "data": data}
    return read_each([(raw, sent)], lambda raw, _: make_event(raw, latest=arrival.latest), "id", single=True)


def _unquoted(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise MalformedError("not_utf8", f"The header {name} is not percent-encoded UTF-8.") from None


def _data(body: bytes) -> tuple[object, str]:
    """The one JSON value, and its text; nothing is null."""
    found = list(split(b"[" + (body if body.strip() else b"null") + b"]", 2))
    if len(found) != 1:
        raise MalformedError("malformed_json", "The body is one JSON value, the event's data.")
    return found[0]
