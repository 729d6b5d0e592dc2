"""Invoice numbers: gapless per series."""

from django.db import connection

from invoicing.models import NumberSeries


def next_number(prefix: str) -> str:
    """Take the next number of a series, such as `INV-000042`.

    Call it inside the transaction that uses the number: the series stays locked until that commits, and a rollback
    gives the number back, so there is never a gap. Two callers wait for each other.
    """
    table = NumberSeries._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (prefix, last_number) VALUES (%s, 1) "  # noqa: S608 - the table's own name
            f"ON CONFLICT (prefix) DO UPDATE SET last_number = {table}.last_number + 1 RETURNING last_number",
            [prefix],
        )
        number = cursor.fetchone()[0]
    return f"{prefix}{number:06d}"
