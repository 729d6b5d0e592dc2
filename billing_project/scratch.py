"""A database of its own for a while, on the server of the real one: whatever happens in it, the real one is as it was.

Made from a template that already has all tables; the template is kept, under a name that says which migrations and
roles it was made by. The process's default connection is the scratch database's until the end.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django
import pgtrigger
from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import connections, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.utils import DatabaseError, OperationalError
from psycopg import errors, sql

from billing_project import roles
from billing_project.errors import RuleError
from billing_project.locks import lock_number
from billing_project.tables import make_tables
from billing_project.unreachable import UNREACHABLE, why_unreachable

ALIAS = "default"
DAY = 24 * 3600
BIG = 1_000_000
# Nobody reads it after a crash: commits need not reach the disk.
OPTIONS = "-c synchronous_commit=off"

USED = """
SELECT c.oid::regclass::text, pg_relation_size(c.oid)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = current_schema() AND pg_relation_size(c.oid) > 0
"""


class Scratch:
    """The scratch database while it is there."""

    def __init__(self) -> None:
        self._kept = {name for name, _ in self._used() if self._has_rows(name)}

    def wipe(self) -> None:
        """Empty every table that was used since it was made."""
        used = [(name, size) for name, size in self._used() if name not in self._kept]
        # Truncating makes new files, which takes longer than deleting a few rows.
        statements = [f"DELETE FROM {name}" for name, size in used if size < BIG]  # noqa: S608 - quoted by it
        statements += [f"TRUNCATE {name} CASCADE" for name, size in used if size >= BIG]
        if statements:
            with transaction.atomic(), pgtrigger.ignore(), connections[ALIAS].cursor() as cursor:
                cursor.execute("; ".join(statements))

    def _used(self) -> list[tuple[str, int]]:
        """Tables that take room, and how much: those with rows, and those that had some. Partitions, not what they are
        parts of.
        """
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(USED)
            return list(cursor.fetchall())

    def _has_rows(self, name: str) -> bool:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(f"SELECT EXISTS (SELECT FROM {name})")  # noqa: S608 - quoted by the server
            return bool(cursor.fetchone()[0])


@contextmanager
def scratch_database() -> Iterator[Scratch]:
    """Work in a scratch database; it is dropped at the end, after errors and Ctrl-C too. Raises RuleError where the
    database's user may not make one.
    """
    maker = maker_of_databases()
    name = f"{_prefix()}_scratch_{int(time.time()):x}_{secrets.token_hex(3)}"
    try:
        _drop_leftovers(maker)
        template = _template(maker)
        _make(maker, name, template)
        try:
            with _connected_to(maker, name):
                yield Scratch()
        finally:
            _drop(maker, name)
    finally:
        maker.close()


def template_of_tables() -> str:
    """The name of a database with all tables and no rows of ours, on the server of the real one, to copy others from.
    Raises RuleError as `scratch_database`.
    """
    maker = maker_of_databases()
    try:
        return _template(maker)
    finally:
        maker.close()


def _beside(connection: Any) -> Any:
    """Another connection to the same database, in no transaction."""
    copy = connection.copy()
    copy.settings_dict["OPTIONS"].pop("pool", None)  # pools are kept by alias
    return copy


def maker_of_databases() -> Any:
    """A connection that can make databases: to the real one, or where that was not made yet, to the server's own.
    Raises RuleError when no server lets us in.
    """
    maker = _beside(connections[ALIAS])
    try:
        maker.ensure_connection()
    except OperationalError as error:
        maker.settings_dict["NAME"] = "postgres"
        before = connections[ALIAS]
        connections[ALIAS] = maker  # whenever a connection is made, Django asks the default one about types
        try:
            with suppress(OperationalError):
                maker.ensure_connection()
                return maker
        finally:
            connections[ALIAS] = before
        raise RuleError(why_unreachable(error) or str(error), code=UNREACHABLE) from error
    return maker


@contextmanager
def _connected_to(maker: Any, name: str) -> Iterator[None]:
    before = connections[ALIAS]
    scratch = _beside(maker)
    scratch.settings_dict["NAME"] = name
    options = scratch.settings_dict["OPTIONS"]
    options["options"] = f"{options.get('options', '')} {OPTIONS}".strip()
    connections[ALIAS] = scratch
    ContentType.objects.clear_cache()
    try:
        yield
    finally:
        scratch.close()
        connections[ALIAS] = before
        ContentType.objects.clear_cache()


def _template(maker: Any) -> str:
    """The name of the template for these migrations, made if it is not there; those of other migrations go."""
    prefix = _prefix()
    name = f"{prefix}_template_{_fingerprint()}"
    with maker.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [lock_number("template", name)])
        try:
            if name not in _databases(maker, f"{prefix}_template_"):
                unfinished = f"{name}_new"
                _drop(maker, unfinished)
                _make(maker, unfinished, "template0")
                with _connected_to(maker, unfinished):
                    make_tables()
                _execute(maker, "ALTER DATABASE {} RENAME TO {}", unfinished, name)
                for other in _databases(maker, f"{prefix}_template_"):
                    if other != name:
                        _drop(maker, other)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [lock_number("template", name)])
    return name


def _prefix() -> str:
    """Of the real database's name: two of them on one server keep out of each other's way."""
    main = connections[ALIAS].settings_dict["NAME"]
    return f"{main[:24]}_{hashlib.sha256(main.encode()).hexdigest()[:4]}"


def _fingerprint() -> str:
    """Of every migration there is, and of who may do what."""
    digest = hashlib.sha256(django.__version__.encode() + Path(roles.__file__).read_bytes())
    for config in sorted(apps.get_app_configs(), key=lambda each: each.label):
        module, _ = MigrationLoader.migrations_module(config.label)
        spec = find_spec(module) if module else None
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).glob("*.py")):
                digest.update(f"{config.label}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _databases(maker: Any, prefix: str) -> list[str]:
    with maker.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
        return [name for (name,) in cursor.fetchall()]


def _drop_leftovers(maker: Any) -> None:
    """Scratch databases of processes that were killed."""
    prefix = f"{_prefix()}_scratch_"
    for name in _databases(maker, prefix):
        made_at = int(name.removeprefix(prefix).partition("_")[0], 16)
        if made_at < time.time() - DAY:
            _drop(maker, name)


def _make(maker: Any, name: str, template: str) -> None:
    try:
        _execute(maker, "CREATE DATABASE {} TEMPLATE {}", name, template)
    except DatabaseError as error:
        if isinstance(error.__cause__, errors.InsufficientPrivilege):
            user = maker.settings_dict["USER"]
            raise RuleError(
                f"A simulation makes a database of its own, and {user or 'this user'} may not: let a superuser run "
                f'ALTER ROLE "{user}" CREATEDB, or set DATABASE_URL to a user who may.',
                code="no_createdb",
            ) from error
        raise


def _drop(maker: Any, name: str) -> None:
    _execute(maker, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _execute(maker: Any, statement: str, *names: str) -> None:
    with maker.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
