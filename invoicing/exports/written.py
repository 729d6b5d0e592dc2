"""What was written since: a range of transactions, all of which have ended.

As the roller does it: rows carry the id of the transaction that wrote them, and whatever lies below the oldest one
still running can no longer appear. Ids of rows would not do: they are drawn before the commit and in another order.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

HORIZON = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, system_identifier FROM pg_control_system()
"""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of transactions from `start`, before `end`; `number` is that of the export. Meters not known yet are
    read from their beginning. `since` is when the last run began (None: there was none): months whose events were
    archived after it are told whole, for nobody can say any more what of them it saw.
    """

    start: int
    end: int
    number: int = 0
    known_meters: tuple[str, ...] = ()
    since: datetime | None = None


def horizon() -> tuple[int, int]:
    """The oldest transaction that may still write, and the database server these ids are of."""
    with connection.cursor() as cursor:
        cursor.execute(HORIZON)
        oldest, server = cursor.fetchone()
    return int(oldest), int(server)
