"""Questions asked all the time: SQL that the database parses and plans once for each connection.

Django's own cursors send parameters as text inside the statement, and its query sets are put together anew each time;
for a handful of rows that takes longer than finding them. Transactions, errors and the log of queries are Django's.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from django.db import connection
from django.db.backends.postgresql import base
from django.db.models import Model

M = TypeVar("M", bound=Model)
_binding: Any = base.ServerBindingCursor
Parameters = Sequence[Any] | Mapping[str, Any]


def ask(statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
    """All rows of the answer. Parameters are `%s` or `%(name)s`; a list is one, for `= ANY(%s::bigint[])`."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    with connection.wrap_database_errors:
        raw: Any = _binding(connection.connection)
    make = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    with make(raw) as cursor:
        cursor.execute(_read_only(statement), parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _read_only(statement: str) -> str:
    """Within a request pghistory puts a second statement before all that do not begin with SELECT, and what is
    prepared may be one only.
    """
    text = statement.lstrip()
    return text if text[:6].upper() == "SELECT" else f"SELECT * FROM ({text}) AS answer"  # noqa: S608 - put together from the program's own texts


def ids(keys: Iterable[int | None]) -> list[int]:
    """The keys of rows, as a parameter: without those of what is not saved, which match nothing."""
    return sorted({key for key in keys if key is not None})


def columns(model: type[Model], table: str) -> str:
    """All columns of a model, to be selected from its table under another name; `instance` reads them."""
    return ", ".join(f'{table}."{field.column}"' for field in model._meta.concrete_fields)


def width(model: type[Model]) -> int:
    """How many columns those are."""
    return len(model._meta.concrete_fields)


def instance(model: type[M], values: Sequence[Any]) -> M:
    """The object that a row of all its columns stands for."""
    row = list(values)
    for place, convert in _converters(model):
        row[place] = convert(row[place], None, connection)
    made: M = model.from_db(connection.alias, _names(model), row)
    return made


@cache
def _names(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


@cache
def _converters(model: type[Model]) -> list[tuple[int, Any]]:
    fields: list[Any] = list(model._meta.concrete_fields)
    return [(place, field.from_db_value) for place, field in enumerate(fields) if hasattr(field, "from_db_value")]
