"""A database that cannot be worked with, in one sentence and with the remedy, for people at a command line."""

from django.db import Error, InterfaceError, OperationalError, ProgrammingError, connection
from psycopg import errors

UNREACHABLE = "unreachable"  # the code of such a refusal
# SQLSTATE classes of a server that cannot be talked to; an error of the client itself has none.
CONNECTION = ("08", "28", "3D", "53300", "57P")


def why_unreachable(error: Error) -> str | None:
    """What is wrong with the database as a whole and what to do; None if the error is about something else."""
    if isinstance(error, ProgrammingError) and isinstance(error.__cause__, errors.UndefinedTable):
        return "The database has no tables of this version yet: run manage.py migrate."
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    state = getattr(error.__cause__, "sqlstate", None)
    if state is not None and not state.startswith(CONNECTION):
        return None
    said = _said(error)
    name = connection.settings_dict["NAME"]
    if f'database "{name}" does not exist' in said:
        return (
            f"There is no database {name}: make it with createdb {name} and manage.py migrate, or correct DATABASE_URL."
        )
    if "authentication failed" in said or "role " in said:
        return f"The database does not let us in ({said}): correct the user and password in DATABASE_URL."
    return f"The database cannot be reached ({said}): start it, or correct DATABASE_URL."


def _said(error: Error) -> str:
    """What the server or the client library said, without where it was tried."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0].removeprefix("connection failed: ").rstrip(".:")
