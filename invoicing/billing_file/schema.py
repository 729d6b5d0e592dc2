"""The billing file as structs: what reads it, what refuses its faults, and what its JSON Schema is made of."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta, field

from catalog.documents import Document
from catalog.money import ONE
from catalog.prices import WrittenPrice
from contracts.deal import EVERYTHING, ContractDocument, Dated, Instant, Key, Scope
from contracts.durations import PATTERN
from contracts.shared_terms import SharedCommit, SharedCredit, SharedFunds
from contracts.templates import TemplateDocument

Text = Annotated[Any, Meta(extra_json_schema={"type": ["string", "number", "boolean"]})]
# A name that may be written as a whole number: `id: 4711`.
Name = Annotated[str, Meta(extra_json_schema={"anyOf": [{"type": "string"}, {"type": "integer"}]})]
# A number written as text, as Decimal reads it: blanks around it and `_` between digits are no part of it.
NUMBER = r"^\s*[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?\s*$"


class Condition(Document, frozen=True, kw_only=True):
    """A condition on a property of an event; of several, all hold."""

    property: str
    in_: tuple[Text, ...] | None = field(default=None, name="in")
    not_in: tuple[Text, ...] | None = None
    exists: bool | None = None
    gt: Decimal | None = None
    gte: Decimal | None = None
    lt: Decimal | None = None
    lte: Decimal | None = None

    def check(self) -> None:
        rules = (self.in_, self.not_in, self.exists, self.gt, self.gte, self.lt, self.lte)
        if all(rule is None for rule in rules):
            raise ValueError("property: says nothing alone; add in, not_in, exists, gt, gte, lt or lte")
        for name, values in (("in", self.in_), ("not_in", self.not_in)):
            for place, value in enumerate(values or ()):
                if not isinstance(value, str | int | Decimal):
                    raise ValueError(f"{name}[{place}]: is a text, a number, true or false")

    def _check_number(self, name: str, value: Decimal) -> None:
        """A property may well be compared with a number below zero."""
        super()._check_number(name, value.copy_abs())


class MeterEntry(Document, frozen=True, kw_only=True):
    """Which events count, and for how much."""

    key: Key
    name: str = ""
    event_type: str | tuple[str, ...]
    aggregation: Literal["count", "sum", "min", "max", "average", "latest", "unique_count", "time_weighted"] = "sum"
    property: str | None = None
    value: str | None = None
    filters: tuple[Condition, ...] = ()
    group_by: tuple[str, ...] = ()

    def check(self) -> None:
        if self.property is not None and self.value is not None:
            raise ValueError("value: give a property or a value, not both")


class ConversionEntry(Document, frozen=True):
    """From the metered quantity to the one that is priced."""

    above_zero: ClassVar[frozenset[str]] = frozenset({"divide_by", "multiply_by"})
    divide_by: Decimal = ONE
    multiply_by: Decimal = ONE


class RoundingEntry(Document, frozen=True, kw_only=True):
    """How the converted quantity is rounded before it is priced."""

    method: Literal["up", "down", "half_up"]
    places: Annotated[int, Meta(ge=0, le=40)] = 0


class ProductEntry(Document, frozen=True, kw_only=True):
    """Something sold."""

    key: Key
    name: str = ""
    kind: Literal["usage", "subscription", "fixed", "percent_of_spend"] = "usage"
    meter: Key | None = None
    pricing_keys: tuple[str, ...] = ()
    presentation_keys: tuple[str, ...] = ()
    conversion: ConversionEntry = ConversionEntry()
    quantity_rounding: RoundingEntry | None = None
    of: Scope = EVERYTHING
    tags: tuple[str, ...] = ()
    tax_category: str | None = None

    def check(self) -> None:
        if self.of != EVERYTHING and self.kind != "percent_of_spend":
            raise ValueError("of: only a share of spend is of other products")


class UnitEntry(Dated, frozen=True, kw_only=True):
    """A pricing unit of a card, and what one costs in the card's currency, while it lasts. Without a rate only balances
    in the unit can pay.
    """

    above_zero: ClassVar[frozenset[str]] = frozenset({"rate"})
    key: Key
    rate: Decimal | None = None


class RateEntry(Dated, frozen=True, kw_only=True):
    """The price of a product and of one set of pricing group values, while it lasts."""

    product: Key
    where: dict[str, str | int | bool] = {}
    unit: str = ""
    price: WrittenPrice
    commit_price: WrittenPrice | None = None


class RateCardEntry(Document, frozen=True, kw_only=True):
    """A list of dated rates in one currency. Rates of the card that the file does not name stay as they are."""

    key: Key
    name: str = ""
    currency: str
    pricing_units: tuple[UnitEntry, ...] = ()
    rates: tuple[RateEntry, ...] = ()


class TaxRateEntry(Dated, frozen=True, kw_only=True):
    """What is due, `percent` 19 for 19%, on products of a tax category sold to customers of a place, while it lasts."""

    key: Key
    name: str
    percent: Decimal
    category: Literal["S", "Z", "E", "AE", "K", "G", "O"] = "S"
    country: str
    region: str = ""
    product_category: str = ""
    inclusive: bool = False
    note: str = ""


class TaxEntry(Document, frozen=True):
    """The customer's tax: `rate` is a fraction, 0.19 for 19%, for everything; without it the tax rates of the
    customer's country hold, unless the `treatment` says that nothing is charged.
    """

    rate: Decimal | None = None
    id: str = ""
    treatment: Literal["", "exempt", "reverse_charge", "intra_community", "export", "outside"] | None = None
    note: str | None = None


class CustomerEntry(Document, frozen=True, kw_only=True):
    """Who is billed. Aliases that the file does not name stay. `payer` says whom invoices are addressed to; `commits`
    and `credits` are shared by the contracts of the customer and of those below it.
    """

    key: Key
    name: str = ""
    timezone: str = "UTC"
    aliases: tuple[Key, ...] = ()
    email: str = ""
    address: str | None = None
    country: str | None = None
    region: str | None = None
    locale: str | None = None
    tax: TaxEntry = TaxEntry()
    parent: Key | None = None
    payer: Literal["self", "parent"] = "parent"
    commits: tuple[SharedCommit, ...] = ()
    credits: tuple[SharedCredit, ...] = ()

    @property
    def funds(self) -> SharedFunds:
        return SharedFunds(commits=self.commits, credits=self.credits)


class EventEntry(Document, frozen=True, kw_only=True):
    """A usage event, as a client sends it. A bare date is midnight in the customer's time zone."""

    id: Name
    customer: Name
    type: Name
    time: str
    properties: dict[str, Any] = {}
    source: str = ""


class EventFileEntry(Document, frozen=True, kw_only=True):
    """A file of events, or a folder of them. `id`, `time` and `customer` name columns, found by their usual names if
    left out. What each field does is said of the option of the same name by `manage.py import_events --help`.
    """

    path: str
    type: str = ""
    type_column: str = ""
    id: str = ""
    id_from_row: bool = False
    time: str = ""
    time_format: str = "iso"
    time_origin: str = ""
    timezone: str = "UTC"
    customer: str = ""
    for_customer: str = ""
    source: str = ""
    source_column: str = ""
    properties: dict[str, str] = {}
    skip: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    join: dict[str, tuple[str, ...]] = {}
    folder_columns: bool = False
    empty: tuple[str, ...] = ()
    separator: str = ""
    columns: tuple[str, ...] = ()
    skip_lines: int = 0
    encoding: str = "utf-8"
    decimal: str = "."
    thousands: str = ""
    bad_rows: Literal["refuse", "leave_out"] = "refuse"
    format: Literal["auto", "csv", "jsonl", "parquet"] = "auto"


class BillingFile(Document, frozen=True, kw_only=True):
    """A billing file: `name`, `as_of`, `events` and `event_files` are for simulations only."""

    name: str = ""
    as_of: Instant | None = None
    meters: tuple[MeterEntry, ...] = ()
    products: tuple[ProductEntry, ...] = ()
    rate_cards: tuple[RateCardEntry, ...] = ()
    tax_rates: tuple[TaxRateEntry, ...] = ()
    customers: tuple[CustomerEntry, ...] = ()
    templates: tuple[TemplateDocument, ...] = ()
    contracts: tuple[ContractDocument, ...] = ()
    events: tuple[EventEntry, ...] = ()
    event_files: tuple[EventFileEntry, ...] = ()


class ScenarioList(Document, frozen=True, kw_only=True):
    """Several scenarios in one file."""

    scenarios: tuple[BillingFile, ...]


ENTRIES: dict[str, Any] = {
    "meters": MeterEntry,
    "products": ProductEntry,
    "rate_cards": RateCardEntry,
    "tax_rates": TaxRateEntry,
    "customers": CustomerEntry,
    "templates": TemplateDocument,
    "contracts": ContractDocument,
    "events": EventEntry,
    "event_files": EventFileEntry,
}


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the format: of one file, or of a list of scenarios."""
    schema: dict[str, Any] = msgspec.json.schema(BillingFile | tuple[BillingFile, ...])
    scenarios = msgspec.json.schema(ScenarioList)
    definitions = {**schema.pop("$defs"), **scenarios["$defs"], **_template_definitions()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Countinghouse billing file",
        "anyOf": [*schema["anyOf"], {"$ref": scenarios["$ref"]}],
        "$defs": as_written(definitions),
    }


def _template_definitions() -> dict[str, Any]:
    """Templates are made of what contracts are made of, with durations for instants: definitions of their own."""
    definitions = msgspec.json.schema(TemplateDocument)["$defs"]
    names = {name: name if name == TemplateDocument.__name__ else f"{name}InTemplate" for name in definitions}
    return {names[name]: _with_durations(definition, names) for name, definition in definitions.items()}


def _with_durations(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_with_durations(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "date-time":
        return {"type": "string", "pattern": PATTERN, "description": "ISO 8601 duration from the contract's start."}
    renamed = {key: _with_durations(value, names) for key, value in schema.items()}
    for key, value in schema.items():
        if key == "$ref":
            folder, _, name = value.rpartition("/")
            renamed[key] = f"{folder}/{names[name]}"
        elif key == "discriminator":
            mapping = {tag: _with_durations({"$ref": ref}, names)["$ref"] for tag, ref in value["mapping"].items()}
            renamed[key] = {**value, "mapping": mapping}
    return renamed


def as_written(schema: Any) -> Any:
    """Numbers may be numbers or text, instants may be bare dates: say so where msgspec only knows the one."""
    if isinstance(schema, list):
        return [as_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: as_written(value) for key, value in schema.items() if key not in ("type", "format", "properties")}
    if "properties" in schema:  # a field may be called type or format itself
        rest["properties"] = {name: as_written(value) for name, value in schema["properties"].items()}
    match schema.get("format"):
        case "decimal":
            return {"type": ["number", "string"], "pattern": NUMBER, **rest}
        case "date-time":
            return {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}], **rest}
    if "anyOf" in schema:  # what a Name says beside the type of its field
        return rest
    return {**{key: schema[key] for key in ("type", "format") if key in schema}, **rest}
