"""Rows of CSV and JSON Lines, each with its line. A broken row has a problem; the next one is read all the same."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any, NamedTuple, Protocol, cast

from meters.exact_json import MalformedError, split
from meters.sources.cells import TextShape
from meters.sources.lines import Lines, UnreadableError, known_encoding

FIRST_LINES = 100
SEPARATORS = ",;\t|"
USUAL = TextShape()

_quoted = re.compile(r'"[^"]*"')


class Row(NamedTuple):
    """`line` counts from 1: the row's first line in a text, its number in a table. `text` is kept of a broken one."""

    line: int
    cells: dict[str, Any]
    problem: str = ""
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the next row begins: in a text its byte (unpacked), in a table its part and the row in there."""

    offset: int = 0
    line: int = 0
    part: int = 0


class Rows(Protocol):
    """The rows of one file. `columns` are those of the header; where each row has its own, those of the first rows."""

    columns: list[str]
    from_text: bool
    flat: bool
    ragged: bool

    def seek(self, mark: Mark) -> None: ...

    def mark(self) -> Mark: ...

    def __iter__(self) -> Iterator[Row]: ...


class CsvRows:
    """Separated by what the line of column names uses most: commas, semicolons, tabs or bars."""

    from_text = True
    flat = True
    ragged = False

    def __init__(self, stream: IO[bytes], shape: TextShape = USUAL) -> None:
        self._lines = Lines(stream, known_encoding(shape.encoding))
        for _ in range(shape.skip_lines):
            next(self._lines, "")
        self._lines.begin()
        start = self.mark()
        first = next(self._lines, "")
        self._check_first(first, "" if shape.columns else "a CSV file begins with a line of column names")
        separator = shape.separator or _separator(first)
        self._dialect = dialect(separator, spaced=_is_spaced(first, separator))
        self._lines.seek(start.offset, start.line)
        self.columns = list(shape.columns) or self._header()
        self._start = self.mark()

    def _check_first(self, first: str, expected: str) -> None:
        if not first.strip() and expected:
            raise UnreadableError(f"The file is empty: {expected}.", code="empty")
        if "\r" in first.rstrip("\r\n"):
            raise UnreadableError("The lines end in CR alone: save the file with LF or CR LF.", code="line_ends")
        if self._lines.problem and expected:
            raise UnreadableError(f"In the line of column names: {self._lines.problem}", code="broken_header")

    def _header(self) -> list[str]:
        try:
            return [name.strip() for name in next(self._reader())]
        except csv.Error as error:
            raise UnreadableError(f"The line of column names is broken: {error}.", code="broken_header") from None

    def _reader(self) -> Any:
        return csv.reader(self._lines, self._dialect)

    def seek(self, mark: Mark) -> None:
        mark = mark if mark.offset else self._start
        self._lines.seek(mark.offset, mark.line)

    def mark(self) -> Mark:
        return Mark(self._lines.offset, self._lines.number)

    def __iter__(self) -> Iterator[Row]:
        lines, columns = self._lines, self.columns
        reader = self._reader()
        while True:
            lines.begin()
            line = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # A quotation mark out of place swallows the lines after it: only the first one is given up.
                lines.put_back()
                reader = self._reader()
                yield Row(line, {}, f"The row is broken: {error}.", "malformed_row", lines.text())
                continue
            if lines.problem:
                yield Row(line, {}, lines.problem, "unreadable_line", lines.text())
            elif len(cells) == len(columns):
                yield Row(line, dict(zip(columns, cells, strict=True)))
            elif cells:
                wrong = f"The row has {len(cells)} cells, the header {len(columns)}."
                yield Row(line, {}, wrong, "wrong_number_of_cells", lines.text())


def dialect(separator: str, *, spaced: bool) -> type[csv.Dialect]:
    """`spaced`: a space follows each separator and is none of the cell. Raises UnreadableError."""
    separator = {"tab": "\t", "\\t": "\t"}.get(separator, separator)
    if len(separator) != 1 or separator in '"\r\n':
        raise UnreadableError(f'"{separator}" is no separator: give one character, or tab.', code="separator")
    # Dialects are classes.
    given = {"delimiter": separator, "skipinitialspace": spaced, "strict": True}
    return type("Written", (csv.excel,), given)


def _separator(header: str) -> str:
    bare = _quoted.sub("", header)
    return max(SEPARATORS, key=lambda sign: (bare.count(sign), -SEPARATORS.index(sign)))


def _is_spaced(header: str, separator: str) -> bool:
    bare = _quoted.sub("", header)
    return separator != " " and 0 < bare.count(separator) == bare.count(f"{separator} ")


class JsonRows:
    """One JSON object a line, read exactly. Numbers are Decimals."""

    from_text = False
    flat = False
    ragged = True

    def __init__(self, stream: IO[bytes], shape: TextShape = USUAL) -> None:
        self._lines = Lines(stream, known_encoding(shape.encoding))
        objects = self._first_objects()
        self.first: dict[str, Any] = objects[0] if objects else {}
        self.columns = list(dict.fromkeys(key for each in objects for key in each))
        self._lines.seek(0, 0)

    def seek(self, mark: Mark) -> None:
        self._lines.seek(mark.offset, mark.line)

    def mark(self) -> Mark:
        return Mark(self._lines.offset, self._lines.number)

    def __iter__(self) -> Iterator[Row]:
        for line, text, problem in self.texts():
            yield Row(line, {}, problem, "unreadable_line", text) if problem else read_object(line, text)

    def texts(self) -> Iterator[tuple[int, str, str]]:
        """The lines that are not blank, with their number and what is wrong with them as text."""
        lines = self._lines
        lines.begin()
        for text in lines:
            if stripped := text.strip():
                yield lines.number, stripped, lines.problem
            lines.begin()

    def _first_objects(self) -> list[dict[str, Any]]:
        first = list(islice(self.texts(), FIRST_LINES))
        rows = [read_object(line, text) for line, text, problem in first if not problem]
        objects = [row.cells for row in rows if row.cells]
        if first and not objects:
            raise UnreadableError(
                f"None of the first {FIRST_LINES} lines is a JSON object: this is not JSON Lines, one object a "
                "line. `jq -c '.[]'` makes that of an array.",
                code="not_json_lines",
            )
        return objects


def read_object(line: int, text: str) -> Row:
    if not text.startswith("{"):
        return Row(line, {}, "The line is not a JSON object.", "not_an_object", text)
    try:
        value, _ = next(split(text.encode(), 1))
    except MalformedError as error:
        return Row(line, {}, error.message.replace("The body", "The line"), error.code, text)
    return Row(line, cast("dict[str, Any]", value), text=text)
