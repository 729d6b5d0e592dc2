"""Answers as CSV, beside JSON, for every view that lists rows."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


class _Echo:
    """What a csv writer writes to: it gives the text back."""

    def write(self, text: str) -> str:
        return text


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Line by line, for more rows than should be held at once."""
    writer = csv.writer(_Echo())
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow(row)


class CsvRenderer(ABC, BaseRenderer):
    """The rows of `data`; errors stay problem+json in text form."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    @abstractmethod
    def table(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
        """The names of the columns, and the cells of every row."""

    def render(self, data: Any, accepted: str | None = None, context: Mapping[str, Any] | None = None) -> bytes:
        if not isinstance(data, dict) or "data" not in data:
            return JSONRenderer().render(data)
        return csv_text(*self.table(data["data"])).encode()
