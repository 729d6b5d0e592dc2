"""A database of the benchmark's own, beside the default one on the same server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from billing_project import embedded

SHOWN = ("server_version", "shared_buffers", "fsync", "synchronous_commit", "full_page_writes", "max_wal_size")


@contextmanager
def own_database(name: str) -> Iterator[str]:
    """Yields its URL; it is dropped in the end."""
    embedded.ensure_started()
    parts = urlsplit(embedded.database_url())
    default = parts.path.lstrip("/")
    own = f"{default}_benchmark_{name}_{os.getpid()}"
    url = urlunsplit(parts._replace(path=f"/{own}"))
    server = urlunsplit(parts._replace(path="/postgres"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(own)))
    try:
        yield url
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(own)))


def server_settings(connection: psycopg.Connection) -> dict[str, str]:
    """What a figure depends on."""
    return {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in SHOWN}  # type: ignore[index]
