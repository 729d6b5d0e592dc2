"""From what is written in files to their entries, each with its path."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from catalog.documents import YEARS, DocumentError, read
from contracts.deal import ContractDocument
from contracts.deal_format import DealError, Fault, parse_contract, with_instants
from contracts.models import Customer
from invoicing.billing_file.faults import FileError, Placed, joined, placed
from invoicing.billing_file.packages import Packages, WrittenTemplate, read_templates
from invoicing.billing_file.schema import (
    ENTRIES,
    BillingFile,
    CustomerEntry,
    EventEntry,
    EventFileEntry,
    MeterEntry,
    ProductEntry,
    RateCardEntry,
    TaxRateEntry,
)

INSTANTS = frozenset({"at", "as_of", "starting_at", "ending_before"})
OPAQUE = frozenset({"where", "usage_filter", "properties", "filters"})  # keys inside are people's own, not fields
NAMES = frozenset({"id", "customer", "type"})


@dataclass(slots=True)
class Entries:
    """What files say, one list for each section; `name` and `as_of` are those of the last file that has them."""

    name: str = ""
    as_of: datetime | None = None
    meters: list[Placed[MeterEntry]] = field(default_factory=list)
    products: list[Placed[ProductEntry]] = field(default_factory=list)
    rate_cards: list[Placed[RateCardEntry]] = field(default_factory=list)
    tax_rates: list[Placed[TaxRateEntry]] = field(default_factory=list)
    customers: list[Placed[CustomerEntry]] = field(default_factory=list)
    templates: list[Placed[WrittenTemplate]] = field(default_factory=list)
    contracts: list[Placed[ContractDocument]] = field(default_factory=list)
    events: list[Placed[EventEntry]] = field(default_factory=list)
    event_files: list[Placed[EventFileEntry]] = field(default_factory=list)


def parse(files: Sequence[tuple[str, object]]) -> Entries:
    """The entries of files, each named by what its paths begin with (empty for one file alone). Raises FileError with
    the first fault of every entry.
    """
    entries, faults = Entries(), list[Fault]()
    contracts: list[tuple[str, object]] = []
    for label, written in files:
        prefix = f"{label}: " if label else ""
        faults += _read_file(prefix, written, entries, contracts)
    faults += _read_contracts(contracts, entries)
    faults += _repeated(entries)
    if faults:
        raise FileError(faults)
    return entries


def _read_file(prefix: str, written: object, entries: Entries, contracts: list[tuple[str, object]]) -> list[Fault]:
    if not isinstance(written, Mapping):
        return [Fault(prefix.rstrip(": "), "type", "a billing file is an object with meters, products and so on")]
    faults = [Fault(prefix + path, code, message) for path, code, message in _bad_instants(written, "")]
    head = {key: value for key, value in written.items() if key not in ENTRIES}
    try:
        read_head: BillingFile = read(BillingFile, _with_as_of(head))
    except DocumentError as error:
        faults.append(Fault(prefix + error.path, error.code, error.message))
    else:
        entries.name = read_head.name or entries.name
        entries.as_of = read_head.as_of or entries.as_of
    for section in ENTRIES:
        rows = written.get(section)
        if rows is None:
            continue
        if not isinstance(rows, list):
            faults.append(Fault(prefix + section, "type", "is a list"))
            continue
        placed_rows = [(f"{prefix}{section}[{index}]", row) for index, row in enumerate(rows)]
        if section == "contracts":
            contracts += placed_rows
        elif section == "templates":
            faults += read_templates(placed_rows, entries.templates)
        else:
            faults += _read_rows(placed_rows, section, getattr(entries, section))
    return faults


def _with_as_of(head: dict[str, Any]) -> object:
    as_of = with_instants({"at": head.get("as_of")}, ZoneInfo("UTC"))
    return {**head, "as_of": as_of["at"]} if isinstance(as_of, dict) and "as_of" in head else head


def read_entry(section: str, row: object) -> Any:
    """An entry of a section other than contracts and templates. Raises DocumentError."""
    return read(ENTRIES[section], PREPARED.get(section, _as_utc)(row))


def _read_rows(rows: Sequence[tuple[str, object]], section: str, into: list[Any]) -> Iterator[Fault]:
    for path, row in rows:
        try:
            into.append(Placed(path, read_entry(section, row)))
        except DocumentError as error:
            yield Fault(joined(path, error.path), error.code, error.message)


def _as_utc(row: object) -> object:
    return with_instants(row, ZoneInfo("UTC"))


def _names_as_text(row: object) -> object:
    """Numbers serve as names too: an id or a customer of 4711."""
    if not isinstance(row, Mapping):
        return row
    return {
        key: str(value) if key in NAMES and isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in row.items()
    }


def _in_its_zone(row: object) -> object:
    """Bare dates of a customer's commits are meant in its time zone."""
    named = row.get("timezone") if isinstance(row, Mapping) else None
    try:
        return with_instants(row, ZoneInfo(named if isinstance(named, str) and named else "UTC"))
    except (KeyError, ValueError, OSError):
        return _as_utc(row)  # refused with its path when the customer is looked at


PREPARED: dict[str, Callable[[object], object]] = {
    "events": _names_as_text,
    "event_files": lambda row: row,
    "customers": _in_its_zone,
}


def _read_contracts(rows: Sequence[tuple[str, object]], entries: Entries) -> list[Fault]:
    faults: list[Fault] = []
    named = {str(row["customer"]) for _, row in rows if isinstance(row, Mapping) and "customer" in row}
    zones = zones_of(entries, named)
    packages = Packages(rows, entries.templates)
    for path, row in rows:
        customer = str(row.get("customer", "")) if isinstance(row, Mapping) else ""
        zone = zones.get(customer, ZoneInfo("UTC"))
        try:
            entries.contracts.append(Placed(path, parse_contract(packages.filled_in(row, zone), zone)))
        except DealError as error:
            faults += placed(path, error.faults)
    return faults


def zones_of(entries: Entries, customers: set[str]) -> dict[str, ZoneInfo]:
    """The time zones of customers by key: the file's, else those stored."""
    in_file = {each.entry.key: each.entry.timezone for each in entries.customers}
    missing = customers - in_file.keys()
    stored = dict(Customer.objects.filter(key__in=missing).values_list("key", "timezone")) if missing else {}
    zones = {}
    for key, name in {**stored, **in_file}.items():
        try:
            zones[key] = ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            zones[key] = ZoneInfo("UTC")  # refused with its path when the customer is looked at
    return zones


def _repeated(entries: Entries) -> Iterator[Fault]:
    for section in ("meters", "products", "rate_cards", "customers", "templates", "contracts"):
        seen: dict[str, str] = {}
        for each in getattr(entries, section):
            first = seen.setdefault(each.entry.key, each.path)
            if first != each.path:
                yield Fault(f"{each.path}.key", "repeated", f"{each.entry.key} is also the key of {first}")


def _bad_instants(written: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Instants outside of the years anything is billed in, however they are written."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            place = joined(path, key)
            if key in INSTANTS and isinstance(value, str) and not _in_years(value):
                yield place, "instant", f"is {value!r}; years from {YEARS.start} to {YEARS.stop - 1} are billed"
            elif key not in OPAQUE and (path or key in ENTRIES) and not place.startswith("events"):
                yield from _bad_instants(value, place)
    elif isinstance(written, list):
        for index, each in enumerate(written):
            yield from _bad_instants(each, f"{path}[{index}]")


def _in_years(text: str) -> bool:
    """What is no instant at all is refused elsewhere."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).year in YEARS
    except ValueError:
        return True
