"""Locks between processes: in the database by name, on this machine by file."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection


def lock_number(*name: object) -> int:
    """PostgreSQL's advisory locks are 64-bit numbers; ours have names."""
    text = ":".join(map(str, name)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], signed=True)


def lock(*name: object) -> None:
    """Wait for the named lock and hold it until the transaction ends."""
    with connection.cursor() as cursor:
        _need_transaction()
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock_number(*name)])


@contextmanager
def holding(*name: object) -> Iterator[bool]:
    """Try to hold the named lock over several transactions of this connection; yields whether we have it."""
    number = lock_number(*name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        held = bool(cursor.fetchone()[0])
    try:
        yield held
    finally:
        if held:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """An exclusive lock on a file; without `wait`, yields whether we have it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _need_transaction() -> None:
    if not connection.in_atomic_block:
        raise RuntimeError("This lock lasts until the transaction ends: take it inside transaction.atomic().")
