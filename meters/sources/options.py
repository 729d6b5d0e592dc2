"""The command line's options for a mapping."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from meters.sources.cells import TextShape
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
    group.add_argument(
        "--time-origin",
        default="",
        metavar="TIME",
        help="What s, ms, us or ns count from, in a trace that begins at 0: 2024-05-10T00:00:00Z. [1970]",
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
        "--join",
        action="append",
        default=[],
        type=join_of,
        metavar="NAME=COLUMN,COLUMN",
        help="A column made of several, with spaces between; to be named as the time, the id or the customer.",
    )
    group.add_argument(
        "--folder-columns", action="store_true", help="Folders called name=value, as Hive writes them, are columns."
    )
    group.add_argument(
        "--empty", action="extend", nargs="+", default=[], metavar="TEXT", help="What stands for nothing, such as NULL."
    )
    group.add_argument(
        "--text",
        action="extend",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="Columns that stay text though they look like numbers (leading zeros).",
    )
    text = parser.add_argument_group("text", "How CSV is written; --encoding holds for JSON Lines too.")
    text.add_argument(
        "--separator", default="", metavar="SIGN", help="[the sign of , ; tab | that the header uses most]"
    )
    text.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME", help="The names of all columns, of files without a header."
    )
    text.add_argument("--skip-lines", type=int, default=0, metavar="N", help="Lines before the header, or the rows.")
    text.add_argument("--encoding", default="utf-8", help="Such as cp1252. [utf-8]")
    text.add_argument("--decimal", default=".", metavar="SIGN", help="Of numbers: . or a comma. [.]")
    text.add_argument("--thousands", default="", metavar="SIGN", help="Between the thousands of numbers. [none]")


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
        origin=options["time_origin"],
        join=tuple(options["join"]),
        folders=options["folder_columns"],
        empty=tuple(options["empty"]),
        decimal=options["decimal"],
        thousands=options["thousands"],
        shape=TextShape(
            separator=options["separator"],
            columns=tuple(options["columns"]),
            skip_lines=options["skip_lines"],
            encoding=options["encoding"],
        ),
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


def join_of(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, columns = text.partition("=")
    parts = tuple(filter(None, columns.split(",")))
    if not name or not parts:
        raise ArgumentTypeError(f'"{text}" is not NAME=COLUMN,COLUMN.')
    return name, parts
