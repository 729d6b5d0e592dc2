"""Rows of Parquet files. Integers and decimals stay exact; a binary float is written as its shortest decimal."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import IO, Any

from meters.sources.extras import load
from meters.sources.lines import UnreadableError
from meters.sources.rows import Mark, Row
from meters.sources.times import EPOCH

READ_AHEAD = 1024 * 1024
BATCH = 5_000
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

Convert = Callable[[Any], Any]


class ParquetRows:
    """A part is a row group."""

    from_text = False
    ragged = False

    def __init__(self, stream: IO[bytes]) -> None:
        self._arrow = load("pyarrow", extra="lake", purpose="Reading Parquet")
        parquet = load("pyarrow.parquet", extra="lake", purpose="Reading Parquet")
        self.time = ""
        self._mark = Mark()
        with Whole(self._arrow):
            self._file = parquet.ParquetFile(stream, buffer_size=READ_AHEAD, pre_buffer=False)
            self._schema = self._file.schema_arrow
        self.columns = list(self._schema.names)
        self.total: int = self._file.metadata.num_rows
        types = self._arrow.types
        self.flat = not any(types.is_nested(field.type) or types.is_floating(field.type) for field in self._schema)

    def seek(self, mark: Mark) -> None:
        self._mark = mark

    def mark(self) -> Mark:
        return self._mark

    def __iter__(self) -> Iterator[Row]:
        for part in range(self._mark.part, self._file.num_row_groups):
            seen = 0
            for batch in self._batches(part):
                seen += batch.num_rows
                done = self._mark.offset if self._mark.part == part else 0
                if seen > done:
                    yield from self._rows(batch.slice(max(0, batch.num_rows - (seen - done))), part)
            self._mark = Mark(0, self._mark.line, part + 1)

    def _batches(self, part: int) -> Iterator[Any]:
        with Whole(self._arrow):
            yield from self._file.iter_batches(batch_size=BATCH, row_groups=[part])

    def _rows(self, batch: Any, part: int) -> Iterator[Row]:
        columns = [self._values(name, column) for name, column in zip(self.columns, batch.columns, strict=True)]
        for cells in zip(*columns, strict=True):
            before = self._mark
            self._mark = Mark(before.offset + 1 if before.part == part else 1, before.line + 1, part)
            yield Row(self._mark.line, dict(zip(self.columns, cells, strict=True)))

    def _values(self, name: str, column: Any) -> list[Any]:
        arrow, types = self._arrow, self._arrow.types
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        kind = column.type
        if types.is_timestamp(kind) and name == self.time:
            zone = UTC if kind.tz else None
            ticks = column.view(arrow.int64()).to_pylist()
            return [None if tick is None else _moment(tick, kind.unit, zone) for tick in ticks]
        if types.is_temporal(kind) and not types.is_duration(kind):
            texts = column.cast(arrow.string()).to_pylist()
            return [None if text is None else str(text).replace(" ", "T", 1) for text in texts]
        coarser = to_microseconds(arrow, kind)
        if coarser != kind:
            column, kind = column.cast(coarser, safe=False), coarser
        convert = converter(types, kind)
        return [None if value is None else convert(value) for value in column.to_pylist()]


def to_microseconds(arrow: Any, kind: Any) -> Any:
    """The type with its nanoseconds, wherever they lie in it, as microseconds: Python's times hold no finer ones."""
    types = arrow.types

    def again(inner: Any) -> Any:
        return to_microseconds(arrow, inner)

    if types.is_timestamp(kind) and kind.unit == "ns":
        return arrow.timestamp("us", kind.tz)
    if types.is_duration(kind) and kind.unit == "ns":
        return arrow.duration("us")
    if types.is_struct(kind):
        return arrow.struct([field.with_type(again(field.type)) for field in kind])
    if types.is_map(kind):
        return arrow.map_(kind.key_type, kind.item_field.with_type(again(kind.item_type)))
    if types.is_list(kind):
        return arrow.list_(kind.value_field.with_type(again(kind.value_type)))
    if types.is_large_list(kind):
        return arrow.large_list(kind.value_field.with_type(again(kind.value_type)))
    return kind


def converter(types: Any, kind: Any) -> Convert:
    """From Arrow's Python values to those of JSON."""
    if types.is_float64(kind):
        return shortest
    if types.is_float32(kind) or types.is_float16(kind):
        return lambda value: shortest(_narrow(value, "f" if types.is_float32(kind) else "e"))
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda value: value.decode(errors="surrogateescape")
    if types.is_struct(kind):
        inner = {field.name: converter(types, field.type) for field in kind}
        return lambda value: {key: inner[key](each) for key, each in value.items() if each is not None}
    if types.is_map(kind):
        item = converter(types, kind.item_type)
        return lambda value: {str(key): None if each is None else item(each) for key, each in value}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = converter(types, kind.value_type)
        return lambda value: [None if each is None else item(each) for each in value]
    if types.is_temporal(kind):
        return lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value)
    return lambda value: value


def shortest(value: float) -> Decimal | int | None:
    """The shortest decimal that reads back as the same float, whole numbers without a fraction. NaN is no value."""
    number = Decimal(repr(value))
    if number.is_nan():
        return None
    return (
        int(number) if number.is_finite() and number == number.to_integral_value() and abs(number) < 10**15 else number
    )


def _narrow(value: float, code: str) -> float:
    """The double with the shortest decimal that this 32-bit or 16-bit float reads back from."""
    bits = struct.pack(code, value)
    candidates = (float(f"{value:.{digits}g}") for digits in range(1, 10))
    return next((each for each in candidates if struct.pack(code, each) == bits), value)


def _moment(tick: int, unit: str, zone: Any) -> datetime | str:
    """To the nearest microsecond, as times in text are read."""
    per_second = PER_SECOND[unit]
    microseconds = (tick * 10**6 * 2 + per_second) // (2 * per_second)
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).replace(tzinfo=zone)
    except OverflowError:
        return f"{tick} {unit} since 1970"


class Whole:
    """What Arrow says of a file that is not all there, in words."""

    def __init__(self, arrow: Any) -> None:
        self._broken = (arrow.ArrowException, OSError)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._broken) and not isinstance(error, UnreadableError):
            reason = str(error).split(". ")[0].rstrip(".")
            raise UnreadableError(
                f"This is no whole Parquet file: it is cut off, still being written, or broken ({reason}). "
                "Replace it and repeat.",
                code="broken_parquet",
            ) from None
