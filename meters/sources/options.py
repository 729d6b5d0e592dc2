"""The command line's options for a mapping."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from meters.sources.mapping import ColumnMapping
from meters.sources.times import Clock, known_format


def add_mapping_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group(
        "mapping",
        "Which column is what; every other column is a property. "
        "Where cells hold objects (JSON, Parquet), a dotted path such as user.id names what lies in one.",
    )
    group.add_argument("--type", default="", metavar="TYPE", help="The type of all events.")
    group.add_argument("--type-column", default="", metavar="COLUMN", help="[type, event_type, event_name or code]")
    group.add_argument("--id", default="", metavar="COLUMN", help="[id, event_id, transaction_id or idempotency_key]")
    group.add_argument(
        "--id-from-row",
        action="store_true",
        help="The rows have no id: make it of the file's name, the line and what the row holds. A file may be read "
        "again, be moved and grow at its end; a row that changes becomes another event.",
    )
    group.add_argument("--time", default="", metavar="COLUMN", help="[time, timestamp, event_time or datetime]")
    group.add_argument(
        "--time-format",
        type=time_format,
        metavar="FORMAT",
        default=Clock.ISO.value,
        help="iso: a date and time; s, ms, us or ns: what is counted since 1970; or a pattern such as "
        "'%%m/%%d/%%Y %%H:%%M:%%S'. [iso]",
    )
    group.add_argument("--timezone", default="UTC", metavar="ZONE", help="Of times without an offset. [UTC]")
    group.add_argument(
        "--customer",
        default="",
        metavar="COLUMN",
        help="[customer, subject, customer_id, external_customer_id or external_subscription_id]",
    )
    group.add_argument("--for-customer", default="", metavar="KEY", help="All events are this customer's.")
    group.add_argument(
        "--source-name", default="", metavar="SOURCE", help="The source of all events; identity is source and id."
    )
    group.add_argument("--source-column", default="", metavar="COLUMN")
    group.add_argument(
        "--property", action="append", default=[], type=pair, metavar="NAME=VALUE", help="A property of every event."
    )
    group.add_argument(
        "--skip", action="extend", nargs="+", default=[], metavar="COLUMN", help="Columns that are no property."
    )
    group.add_argument(
        "--text",
        action="extend",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="Columns that stay text though they look like numbers (leading zeros).",
    )


def mapping_of(options: dict[str, Any]) -> ColumnMapping:
    return ColumnMapping(
        type=options["type"],
        type_column=options["type_column"],
        id=options["id"],
        time=options["time"],
        customer=options["customer"],
        for_customer=options["for_customer"],
        id_from_row=options["id_from_row"],
        source=options["source_name"],
        source_column=options["source_column"],
        clock=known_format(options["time_format"]),
        timezone=options["timezone"],
        properties=tuple(options["property"]),
        skip=tuple(options["skip"]),
        text=tuple(options["text"]),
    )


def time_format(text: str) -> str:
    try:
        return known_format(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise ArgumentTypeError(f'"{text}" is not NAME=VALUE.')
    return name, value
