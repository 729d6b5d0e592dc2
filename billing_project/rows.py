"""Many rows of a model in one statement, where thousands are written at once: no instances, no query for each.

Values are as the columns hold them; JSON columns take documents, or the text of one that is written out already. Times
may be given as text: where many rows share one, writing it out once takes a tenth of the time.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.db import connection, models, transaction
from django.utils import timezone
from psycopg import sql

Row = Sequence[Any]
NEXT = "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)"


def take_ids(model: type[models.Model], count: int) -> list[int]:
    """Ids for rows that are about to be written, rising."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT, [model._meta.db_table, model._meta.pk.column, count])
        return sorted(number for (number,) in cursor.fetchall())


def copy_rows(model: type[models.Model], names: Sequence[str], rows: Iterable[Row]) -> None:
    """Insert rows by COPY. `names` are the fields the values are for; the others have their defaults."""
    given = _fields(model, names)
    others = [field for field in model._meta.concrete_fields if field not in given and not field.primary_key]
    defaults = [_as_column(field, _default(field)) for field in others]
    documents = [place for place, field in enumerate(given) if isinstance(field, models.JSONField)]
    defaults = [str(each) if isinstance(each, datetime) else each for each in defaults]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table), _joined(sql.Identifier(field.column) for field in (*given, *others))
    )
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        # Who makes a change is told to the history's triggers along with a statement, and COPY cannot take that along.
        cursor.execute("VALUES (true)")
        with cursor.copy(statement) as copy:
            for row in rows:
                values = [*row, *defaults]
                for place in documents:
                    values[place] = _document(values[place])
                copy.write_row(values)


def update_rows(model: type[models.Model], names: Sequence[str], rows: Iterable[Row]) -> None:
    """Set fields of rows to values of their own. The first value of each row is its id, the others are for `names`."""
    fields = [model._meta.pk, *_fields(model, names)]
    columns = [sql.Identifier(field.column) for field in fields]
    types = [sql.SQL("{} {}").format(sql.Identifier(each.column), sql.SQL(_type(each))) for each in fields]
    statement = sql.SQL(
        "UPDATE {table} AS was SET {changes} FROM json_to_recordset(%s) AS new ({types}) WHERE was.{id} = new.{id}"
    ).format(
        table=sql.Identifier(model._meta.db_table),
        changes=_joined(sql.SQL("{name} = new.{name}").format(name=column) for column in columns[1:]),
        types=_joined(types),
        id=columns[0],
    )
    given = [dict(zip([field.column for field in fields], row, strict=True)) for row in rows]
    if not given:
        return
    with connection.cursor() as cursor:
        cursor.execute(statement.as_string(cursor.connection), [_document(given)])


def _fields(model: type[models.Model], names: Sequence[str]) -> list[Any]:
    return [model._meta.get_field(name) for name in names]


def _default(field: Any) -> Any:
    return timezone.now() if getattr(field, "auto_now_add", False) else field.get_default()


def _as_column(field: Any, value: Any) -> Any:
    return _document(value) if isinstance(field, models.JSONField) else value


def _document(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def _type(field: Any) -> str:
    return str(field.rel_db_type(connection) if field.primary_key else field.db_type(connection))


def _joined(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
