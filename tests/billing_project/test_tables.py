"""The tables of a new installation are made as the models are now: they must be those the migrations lead to."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from billing_project import embedded
from billing_project.roles import FLOORS

# Months of events come and go, so partitions are left out; so are dj-stripe's, which have no migrations here.
OURS = r"""
c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND c.relname !~ '^djstripe_'
"""
ASKED = {
    "columns": f"""
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'p') AND {OURS}
    """,
    "constraints": f"""
        SELECT c.relname, k.conname, pg_get_constraintdef(k.oid), k.condeferrable, k.condeferred
        FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid WHERE {OURS}
    """,
    "indexes": f"""
        SELECT c.relname, pg_get_indexdef(i.indexrelid), c.reloptions
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid WHERE {OURS}
    """,
    "triggers": f"""
        SELECT c.relname, pg_get_triggerdef(t.oid), t.tgenabled, p.prosrc
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND {OURS}
    """,
    "sequences": f"SELECT c.relname FROM pg_class AS c WHERE c.relkind = 'S' AND {OURS}",
    "extensions": "SELECT extname FROM pg_extension",
    "permissions": f"""
        SELECT t.app_label, p.codename
        FROM auth_permission AS p JOIN django_content_type AS t ON t.id = p.content_type_id
        WHERE t.app_label IN ({", ".join(f"'{app}'" for app in ("billing_project", *FLOORS))})
    """,
    "roles": """
        SELECT g.name, t.app_label, p.codename
        FROM auth_group AS g JOIN auth_group_permissions AS has ON has.group_id = g.id
        JOIN auth_permission AS p ON p.id = has.permission_id JOIN django_content_type AS t ON t.id = p.content_type_id
    """,
}
UNWATCHED = (
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)  # migrations are not code to cover: a third of the time


@pytest.fixture
def migrated_url() -> Iterator[str]:
    """A database that only `manage.py migrate` has written to."""
    name = f"migrated_{secrets.token_hex(4)}"
    parts = urlsplit(embedded.database_url())
    url = urlunsplit(parts._replace(path=f"/{name}"))
    with psycopg.connect(urlunsplit(parts._replace(path="/postgres")), autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            environment = {key: value for key, value in os.environ.items() if key not in UNWATCHED}
            environment |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
            subprocess.run([sys.executable, "manage.py", "migrate", "-v", "0"], env=environment, check=True)
            yield url
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def asked(what: str) -> set[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(ASKED[what])
        return {tuple(map(str, row)) for row in cursor.fetchall()}


@pytest.mark.usefixtures("real_commits")
def test_tables_made_at_once_are_those_the_migrations_lead_to(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as migrated:
        for what, question in ASKED.items():
            found = {tuple(map(str, row)) for row in migrated.execute(question).fetchall()}
            made = asked(what)
            assert found
            assert (made - found, found - made) == (set(), set()), what
    executor = MigrationExecutor(connection)
    assert not executor.migration_plan(executor.loader.graph.leaf_nodes())
