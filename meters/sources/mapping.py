"""Which column of a file is what: from a row to a usage event. Pure.

An empty cell is left out.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meters.events import EARLIEST, MAX_ID, MAX_SOURCE, Event, make_event
from meters.exact_json import MAX_KEY_LENGTH, RefusedError, encode
from meters.sources.cells import TextShape, ToValue, in_folders, joined, number_or_text, number_reader
from meters.sources.times import EPOCH, Clock, read_origin, read_time

# Looked for, in this order, where the mapping does not say.
USUAL = {
    "id": ("id", "event_id", "transaction_id", "idempotency_key"),
    "time": ("time", "timestamp", "event_time", "datetime"),
    "customer": ("customer", "subject", "customer_id", "external_customer_id", "external_subscription_id"),
    "type": ("type", "event_type", "event_name", "code"),
}
REMEDIES = {
    "id": "the id (name its column with --id, or make ids from row numbers with --id-from-row)",
    "time": "the time (name its column with --time)",
    "customer": "the customer (name its column with --customer, or give one key with --for-customer)",
    "type": "the event type (give it with --type, or name its column with --type-column)",
}
MAX_FILE_NAME = 200
NESTED = ("properties", "data")


class MappingError(ValueError):
    """The mapping does not fit the file."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Names of columns. What is empty is looked for under its usual names; every other column is a property.

    Where cells may hold objects, a dotted path such as `user.id` names what lies in one; the column stays a property.
    `join` makes columns out of several, `folders` out of folders called `name=value`; cells that hold one of `empty`
    are. `origin` is the instant that times count from, 1970 if there is none.
    """

    type: str = ""
    type_column: str = ""
    id: str = ""
    time: str = ""
    customer: str = ""
    for_customer: str = ""
    id_from_row: bool = False
    source: str = ""
    source_column: str = ""
    clock: str = Clock.ISO
    timezone: str = "UTC"
    properties: tuple[tuple[str, str], ...] = ()
    skip: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    origin: str = ""
    join: tuple[tuple[str, tuple[str, ...]], ...] = ()
    folders: bool = False
    empty: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str = ""
    shape: TextShape = field(default_factory=TextShape)

    def bind(
        self,
        columns: Sequence[str],
        *,
        path: str = "",
        from_text: bool = False,
        flat: bool = False,
        ragged: bool = False,
        placed: bool = False,
    ) -> "Bound":
        """For a file with these columns; `ragged`: a row may lack some. The name at the end of `path` begins the ids
        made from rows; `placed`: no two things have that path, so a row's place in it is enough.

        Raises MappingError.
        """
        self._check_named(columns)
        around = in_folders(path, columns) if self.folders else {}
        columns = self._with_joined([*columns, *around], nested=not flat and not from_text, ragged=ragged)
        self._check_present(columns, set() if ragged else {*self.skip, *self.text}, nested=not flat and not from_text)
        fixed = {"id": self.id_from_row, "time": False, "customer": self.for_customer, "type": self.type}
        given = {"id": self.id, "time": self.time, "customer": self.customer, "type": self.type_column}
        chosen = {
            what: "" if fixed[what] else given[what] or _first(USUAL[what], columns)
            for what in ("id", "time", "customer", "type")
        }
        missing = [REMEDIES[what] for what, column in chosen.items() if not column and not fixed[what]]
        if missing:
            raise MappingError(f"No column was found for {'; '.join(missing)}. The columns are {_quoted(columns)}.")
        zone = self._zone()
        try:
            origin, to_value = read_origin(self.origin, self.clock, zone), number_reader(self.decimal, self.thousands)
        except ValueError as error:
            raise MappingError(str(error)) from None
        return Bound(
            self,
            **chosen,
            zone=zone,
            origin=origin,
            name=path if placed else path.rpartition("/")[2],
            from_text=from_text,
            flat=flat,
            placed=placed,
            taken=frozenset([*chosen.values(), self.source_column, *self.skip]),
            around=around,
            completed=bool(around or self.join or self.empty),
            to_value=to_value,
        )

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise MappingError(f'"{self.timezone}" is no time zone: give one like Europe/Berlin.') from None

    def _with_joined(self, columns: Sequence[str], *, nested: bool, ragged: bool) -> list[str]:
        known = [*columns]
        for name, parts in self.join:
            if name in columns:
                raise MappingError(f'"{name}" is a column of the file: give the joined one another name.')
            absent = [part for part in parts if part not in columns and not (nested and "." in part)]
            if absent and not ragged:
                raise MappingError(
                    f'{_quoted(absent)}, of the joined column "{name}", is missing from the file. '
                    f"The columns are {_quoted(columns)}."
                )
            known.append(name)
        return known

    def _check_named(self, columns: Sequence[str]) -> None:
        doubled = sorted(column for column, times in Counter(columns).items() if times > 1)
        if doubled:
            raise MappingError(
                f"{_quoted(doubled)} is the name of more than one column: rename them, or name all columns "
                "with --columns and leave out the header with --skip-lines 1."
            )
        unnamed = [str(place) for place, column in enumerate(columns, 1) if not column and "" not in self.skip]
        if unnamed:
            raise MappingError(f"Column {', '.join(unnamed)} has no name: give it one, or leave it out with --skip ''.")
        too_long = [column[:20] + "…" for column in columns if len(column) > MAX_KEY_LENGTH]
        if too_long:
            raise MappingError(f"{_quoted(too_long)}: a column's name has at most {MAX_KEY_LENGTH} characters.")

    def _check_present(self, columns: Sequence[str], others: Collection[str], *, nested: bool) -> None:
        named = {self.id, self.time, self.customer, self.type_column, self.source_column}
        inner = {each for each in named if nested and each.partition(".")[0] in columns}
        absent = sorted((named | {*others}) - inner - {"", *columns})
        if absent:
            are = "Column {} is" if len(absent) == 1 else "Columns {} are"
            raise MappingError(
                f"{are.format(_quoted(absent))} missing from the file. "
                f"The columns are {_quoted(columns)}: correct the mapping, or leave the file out."
            )
        clashing = sorted({key for key, _ in self.properties} & ({*columns} - {*self.skip}))
        if clashing:
            raise MappingError(f"{_quoted(clashing)} is both a fixed property and a column: skip the column.")


@dataclass(frozen=True, slots=True)
class Bound:
    """A mapping laid on the columns of one file. `flat`: no cell holds a list or an object. `taken`: no properties."""

    mapping: ColumnMapping
    id: str
    time: str
    customer: str
    type: str
    zone: ZoneInfo
    name: str
    from_text: bool
    flat: bool
    placed: bool
    taken: frozenset[str]
    origin: datetime = EPOCH
    around: Mapping[str, str] = field(default_factory=dict)
    completed: bool = False
    to_value: ToValue = number_or_text

    def event(self, cells: Mapping[str, Any], line: int, latest: datetime) -> Event:
        """Raises RefusedError."""
        given = self.attributes(cells, line)
        try:
            given["time"] = read_time(given["time"], self.mapping.clock, self.zone, self.origin)
        except ValueError as error:
            raise RefusedError(self.time, "invalid_time", str(error)) from None
        return (self.flat and _quick(given, latest)) or make_event(given, latest=latest)

    def attributes(self, cells: Mapping[str, Any], line: int) -> dict[str, Any]:
        """The event's attributes as the row gives them, not checked yet."""
        mapping = self.mapping
        row = cells
        if self.completed:
            row = {**cells, **self.around}
            cells = self._complete(row)
        cell = cells.get if self.flat or self.from_text else partial(_within, cells)
        source = cell(mapping.source_column) if mapping.source_column else mapping.source
        return {
            "id": self._id_of_row(row, line) if mapping.id_from_row else _name(cell(self.id)),
            "time": cell(self.time),
            "customer": mapping.for_customer or _name(cell(self.customer)),
            "type": mapping.type or _name(cell(self.type)),
            "source": _name(source) or "",
            "properties": self._properties(cells),
        }

    def _complete(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Without what counts as empty, and with the columns made of others."""
        cells = {key: cell for key, cell in row.items() if not (isinstance(cell, str) and cell in self.mapping.empty)}
        for name, parts in self.mapping.join:
            cells[name] = joined([_within(cells, part) for part in parts])
        return cells

    def _id_of_row(self, cells: Mapping[str, Any], line: int) -> str:
        """Files of one name in many folders are common: what the row holds tells their rows apart."""
        if self.placed:
            return f"{self.name}#{line}"
        held = blake2b(repr(sorted(cells.items())).encode(errors="backslashreplace"), digest_size=8).hexdigest()
        return f"{self.name[:MAX_FILE_NAME]}#{line}-{held}"

    def _properties(self, cells: Mapping[str, Any]) -> dict[str, Any]:
        mapping, taken = self.mapping, self.taken
        rest = {key: cell for key, cell in cells.items() if key not in taken and cell is not None and cell != ""}
        as_text = {key: str(rest[key]) for key in mapping.text if key in rest} if mapping.text else {}
        if self.from_text:
            to_value = self.to_value
            rest = {key: to_value(cell) for key, cell in rest.items()}
        elif len(rest) == 1:
            ((key, inner),) = rest.items()
            rest = inner if key in NESTED and isinstance(inner, dict) else rest
        if not (as_text or mapping.properties or self.around):
            return rest
        around = {key: number_or_text(value) for key, value in self.around.items() if key in rest}
        return {**rest, **around, **as_text, **{key: number_or_text(value) for key, value in mapping.properties}}


def _within(cells: Mapping[str, Any], path: str) -> Any:
    """A cell by its column's name, or what lies in one by its dotted path."""
    if path in cells or "." not in path:
        return cells.get(path)
    found: Any = cells
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _name(cell: object) -> object:
    """Numbers serve as names too: an id or a customer of 4711."""
    if type(cell) is str:
        return cell or None
    is_whole = isinstance(cell, Decimal) and cell.is_finite() and cell.as_tuple().exponent == 0
    return str(cell) if type(cell) is int or is_whole else cell


def _quick(given: dict[str, Any], latest: datetime) -> Event | None:
    """The event, or None when it must be looked at closely to say what is wrong."""
    event_id, customer, event_type, source = given["id"], given["customer"], given["type"], given["source"]
    if not (_is_name(event_id) and _is_name(customer) and _is_name(event_type) and EARLIEST <= given["time"] <= latest):
        return None
    try:
        properties = encode(given["properties"])
        envelope = f"{event_id}{customer}{event_type}{source}".encode()
    except UnicodeEncodeError:
        return None
    if b"\0" in envelope or b"\\u0000" in properties or type(source) is not str or len(source) > MAX_SOURCE:
        return None
    return Event(event_id, customer, event_type, given["time"], properties, source)


def _is_name(given: object) -> bool:
    return type(given) is str and len(given) <= MAX_ID and bool(given.strip())


def _first(names: Sequence[str], found: Sequence[str]) -> str:
    """The column as the file spells it; capitals and spaces around do not matter."""
    spelled = {column.strip().lower(): column for column in reversed(found)}
    return next((spelled[name] for name in names if name in spelled), "")


def _quoted(names: Sequence[str]) -> str:
    shown = [f'"{name}"' for name in names[:40]]
    return ", ".join(shown) + (f" and {len(names) - 40} more" if len(names) > 40 else "")
