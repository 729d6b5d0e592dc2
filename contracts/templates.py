"""Contract templates (packages): a contract whose instants are durations from its start. Pure.

`{"access": [{"amount": "100", "starting_at": "P0D", "ending_before": "P1M"}]}` signed on 31 January opens that day and
ends on 28 February.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta

from billing_project.decimals import plain
from catalog.documents import DocumentError, read
from contracts.deal import Billing, Deal, Key
from contracts.deal_format import INSTANTS, VALUES, Catalog, DealError, Fault, faults_of, parse_deal
from contracts.durations import PATTERN, parse_duration

Length = Annotated[str, Meta(pattern=PATTERN, description="ISO 8601 duration: P1M, P1Y, P14D.")]
# Only to find faults: any start would do.
SOME_START = datetime(2024, 1, 1, tzinfo=UTC)


class TemplateTerms(Deal, frozen=True, kw_only=True):
    """What every contract signed from a template gets; `term` says how long it lasts (none: until it is ended)."""

    term: Length | None = None
    billing: Billing = Billing()
    net_days: Annotated[int, Meta(ge=0, le=3650)] = 30
    timezone: str | None = None

    def check(self) -> None:
        if self.timezone:
            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"timezone: {self.timezone!r} is not a time zone name") from error


class TemplateDocument(TemplateTerms, frozen=True, kw_only=True):
    """The billing file's template object."""

    key: Key
    name: str = ""
    rate_card: Key


def parse_template(written: object, catalog: Catalog | None = None) -> TemplateTerms:
    """The terms of a template as of some start. Raises DealError."""
    terms: TemplateTerms = _parse(TemplateTerms, written, catalog)
    return terms


def parse_template_document(written: object, catalog: Catalog | None = None) -> TemplateDocument:
    """A template of a billing file, as of some start. Raises DealError."""
    document: TemplateDocument = _parse(TemplateDocument, written, catalog)
    return document


def template_as_dict(written: Any) -> Any:
    """A template as it is stored: what was written, numbers as text."""
    if isinstance(written, Mapping):
        return {key: template_as_dict(value) for key, value in written.items()}
    if isinstance(written, list | tuple):
        return [template_as_dict(each) for each in written]
    return plain(written) if isinstance(written, Decimal) else written


def from_template(document: Mapping[str, Any], starting_at: datetime, zone: ZoneInfo) -> Deal:
    """The deal of a contract signed from a template. Raises DealError."""
    written = contract_of(document, starting_at, zone)
    return parse_deal({name: value for name, value in written.items() if name in Deal.__struct_fields__}, zone)


def contract_of(document: Mapping[str, Any], starting_at: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """The fields of a contract object that a template gives, to be read or overridden. Raises DealError."""
    faults = list(_bad_durations(document, ""))
    if faults:
        raise DealError(faults)
    written = {name: value for name, value in document.items() if name != "term"}
    resolved: dict[str, Any] = _at(written, starting_at, zone)
    if document.get("term"):
        resolved["ending_before"] = parse_duration(document["term"]).after(starting_at, zone)
    return {**resolved, "starting_at": starting_at}


def _parse(kind: Any, written: object, catalog: Catalog | None) -> Any:
    faults = list(_bad_durations(written, ""))
    if faults:
        raise DealError(faults)
    try:
        terms = read(kind, _at(written, SOME_START, ZoneInfo("UTC")))
    except DocumentError as error:
        raise DealError([Fault(error.path, error.code, error.message)]) from error
    faults = [*_endless(terms), *faults_of(terms, catalog)]
    if faults:
        raise DealError(faults)
    return terms


def _endless(terms: TemplateTerms) -> Iterator[Fault]:
    if terms.term and parse_duration(terms.term).after(SOME_START, ZoneInfo("UTC")) <= SOME_START:
        yield Fault("term", "duration", "lasts no time at all; leave it out for a contract without an end")


def _bad_durations(written: object, path: str) -> Iterator[Fault]:
    """Every instant that is no duration a contract could have."""
    if isinstance(written, Mapping):
        for key, value in written.items():
            place = f"{path}.{key}" if path else str(key)
            if (key in INSTANTS and value is not None) or (key == "term" and not path and isinstance(value, str)):
                yield from _bad_duration(value, place)
            elif key not in VALUES:
                yield from _bad_durations(value, place)
    elif isinstance(written, list | tuple):
        for index, each in enumerate(written):
            yield from _bad_durations(each, f"{path}[{index}]")


def _bad_duration(value: object, place: str) -> Iterator[Fault]:
    try:
        parse_duration(str(value)).after(SOME_START, ZoneInfo("UTC"))
    except ValueError as error:
        yield Fault(place, "duration", str(error))
    except OverflowError:
        yield Fault(place, "duration", f"is {value!r}; no contract lasts that long")


def _at(written: Any, start: datetime, zone: ZoneInfo) -> Any:
    """The same document with instants instead of durations."""
    if isinstance(written, Mapping):
        return {
            key: parse_duration(value).after(start, zone)
            if key in INSTANTS and value is not None
            else (value if key in VALUES else _at(value, start, zone))
            for key, value in written.items()
        }
    if isinstance(written, list | tuple):
        return [_at(each, start, zone) for each in written]
    return written
