"""Request bodies: JSON without loss, as billing files are read. Numbers keep every digit, nothing is said twice."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework import exceptions
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from billing_project.api import TooLarge
from invoicing.billing_file.reading import read_json

MAX_BYTES = 10 * 1024 * 1024


class ExactJsonParser(BaseParser):
    """Plain values, numbers as whole numbers and Decimals. 400 names the place of what cannot be read."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise TooLarge(f"A request body has at most {MAX_BYTES // 1024 // 1024} MB.")
        try:
            written = read_json(content.decode())
        except UnicodeDecodeError:
            raise exceptions.ParseError("The body is not UTF-8.", "parse_error") from None
        for fault in written.faults:
            detail = exceptions.ErrorDetail(fault.message, "parse_error" if not fault.path else fault.code)
            raise exceptions.ValidationError({fault.path: [detail]})
        return written.value


def members(request: Request) -> dict[str, Any]:
    """The body as an object."""
    if not isinstance(request.data, Mapping):
        raise exceptions.ParseError("The body must be a JSON object.", "parse_error")
    return dict(request.data)
