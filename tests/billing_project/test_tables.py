"""The tables of a new installation are made as the models are now: they must be those the migrations lead to."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from billing_project.roles import FLOORS
from billing_project.scratch import scratch_database

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
}


def asked(what: str) -> set[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(ASKED[what])
        return {tuple(map(str, row)) for row in cursor.fetchall()}


def rights() -> dict[str, set[str]]:
    return {
        group.name: {f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()}
        for group in Group.objects.prefetch_related("permissions__content_type")
    }


def permissions() -> set[tuple[str, str]]:
    ours = Permission.objects.filter(content_type__app_label__in=("billing_project", *FLOORS))
    return set(ours.values_list("content_type__app_label", "codename"))


@pytest.mark.usefixtures("real_commits")
def test_tables_made_at_once_are_those_the_migrations_lead_to() -> None:
    migrated = {what: asked(what) for what in ASKED}
    roles, may = rights(), permissions()
    assert all(migrated.values())
    assert roles["Finance"]

    with scratch_database():
        for what, found in migrated.items():
            made = asked(what)
            assert (made - found, found - made) == (set(), set()), what
        assert rights() == roles
        assert permissions() == may
        executor = MigrationExecutor(connection)
        assert not executor.migration_plan(executor.loader.graph.leaf_nodes())
