"""Requests whose body comes in chunks, as many clients send what they do not hold in memory."""

import io
from collections.abc import Iterable
from typing import Any

import pytest

from billing_project.chunked import WithLength


def seen(**environ: Any) -> tuple[str | None, bytes]:
    """The length and the body that the application meets."""
    met: list[tuple[str | None, bytes]] = []

    def application(given: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        met.append((given.get("CONTENT_LENGTH"), given["wsgi.input"].read()))
        return [b""]

    WithLength(application)(environ, lambda *_: None)  # type: ignore[arg-type]
    return met[0]


def test_a_chunked_body_gets_its_length() -> None:
    given = {"wsgi.input": io.BytesIO(b"[1, 2]"), "HTTP_TRANSFER_ENCODING": "Chunked", "wsgi.input_terminated": True}
    assert seen(**given) == ("6", b"[1, 2]")


@pytest.mark.parametrize(
    "more", [{}, {"HTTP_TRANSFER_ENCODING": "chunked"}, {"CONTENT_LENGTH": "6", "wsgi.input_terminated": True}], ids=str
)
def test_other_bodies_are_left_alone(more: dict[str, Any]) -> None:
    assert seen(**{"wsgi.input": io.BytesIO(b"[1, 2]"), **more}) == (more.get("CONTENT_LENGTH"), b"[1, 2]")


def test_no_more_is_read_than_is_accepted(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 4
    given = {"wsgi.input": io.BytesIO(b"[1, 2]"), "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert seen(**given) == ("5", b"[1, 2")
