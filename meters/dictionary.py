"""The small tables that turn customer keys and event types into numbers, and this process's copy of them."""

from collections.abc import Collection

from django.db import connection, transaction

MAX_CACHED = 1_000_000


class Dictionary:
    """Numbers of texts; a text seen for the first time gets the next one."""

    def __init__(self, table: str, column: str) -> None:
        # WHERE NOT EXISTS: a conflict alone would use up a number for every text already known.
        self._insert = (
            f"INSERT INTO {table} ({column}) SELECT text FROM unnest(%s::text[]) AS given (text)"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT FROM {table} WHERE {column} = text) ORDER BY text ON CONFLICT DO NOTHING"
        )
        self._select = f"SELECT {column}, id FROM {table} WHERE {column} = ANY(%s::text[])"  # noqa: S608
        self._ids: dict[str, int] = {}

    def ids(self, texts: Collection[str]) -> dict[str, int]:
        """Holds at least the given texts. New ones are committed before this returns, unless a transaction is open."""
        known = self._ids
        missing = sorted({text for text in texts if text not in known})
        if not missing:
            return known
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(self._insert, [missing])
        with connection.cursor() as cursor:
            cursor.execute(self._select, [missing])
            found = dict(cursor.fetchall())
        if not connection.in_atomic_block:
            self._remember(found)
        return {text: known[text] for text in texts if text in known} | found

    def forget(self) -> None:
        self._ids = {}

    def _remember(self, found: dict[str, int]) -> None:
        if len(self._ids) > MAX_CACHED:
            self._ids = {}
        self._ids.update(found)


subjects = Dictionary("meters_subject", "key")
event_types = Dictionary("meters_eventtype", "name")


def forget() -> None:
    """After the tables were emptied."""
    subjects.forget()
    event_types.forget()
