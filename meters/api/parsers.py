"""Request bodies as they came, limited in size; what they mean is decided in `meters.events`."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from billing_project.api import TooLarge
from meters.exact_json import MalformedError

MAX_BYTES = 10 * 1024 * 1024
TOO_LARGE = f"A request body has at most {MAX_BYTES // 1024 // 1024} MB, also when it is unpacked."


@dataclass(frozen=True, slots=True)
class Body:
    """A body, and whether its content type allows one event, an array of events, or both."""

    content: bytes
    single: bool
    batch: bool


class _EventParser(BaseParser):
    single = True
    batch = True

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        request: Request = (parser_context or {})["request"]
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
            raise TooLarge(TOO_LARGE)
        content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise TooLarge(TOO_LARGE)
        return Body(_unpacked(content, request.headers.get("Content-Encoding", "")), self.single, self.batch)


class JsonParser(_EventParser):
    media_type = "application/json"


class FormParser(_EventParser):
    media_type = "application/x-www-form-urlencoded"


class CloudEventParser(_EventParser):
    media_type = "application/cloudevents+json"
    batch = False


class CloudEventBatchParser(_EventParser):
    media_type = "application/cloudevents-batch+json"
    single = False


def _unpacked(content: bytes, encoding: str) -> bytes:
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return content
    if name not in {"gzip", "x-gzip"}:
        raise UnsupportedMediaType(encoding, f'Content-Encoding "{encoding}" is not supported: send gzip or nothing.')
    try:
        return _inflated(content)
    except zlib.error:
        raise MalformedError("bad_gzip", "The body is not gzip, or was cut off.") from None


def _inflated(content: bytes) -> bytes:
    """All members of a gzip stream, never more of it than we take."""
    parts, size = [], 0
    while content:
        stream = zlib.decompressobj(wbits=31)
        part = stream.decompress(content, MAX_BYTES + 1 - size)
        size += len(part)
        if size > MAX_BYTES:
            raise TooLarge(TOO_LARGE)
        if not stream.eof:
            raise zlib.error("cut off")
        parts.append(part)
        content = stream.unused_data
    return b"".join(parts)
