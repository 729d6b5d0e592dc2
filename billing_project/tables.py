"""All tables, in seconds."""

import pgtrigger
from django.apps import apps
from django.contrib.postgres.operations import CreateExtension
from django.core.management import call_command
from django.db import connection, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState

from billing_project.roles import make_roles

SLOW_APP = "djstripe"  # its 62 tables take its own migrations some 40 s of CPU, and one go half a second
# Ours take theirs 25 s. Those of meters really run: they lay out the tables of events by hand.
OURS = ("billing_project", "catalog", "contracts", "invoicing")
# Before there are other models: each of procrastinate's many migrations would draw them all up again.
FIRST = ("auth", "procrastinate", "pghistory", "meters")


def make_tables(*, verbosity: int = 0) -> None:
    """What `migrate` does; where there are no tables yet, most are made as the models are now, without history."""
    if not _has_tables():
        for app in FIRST:
            call_command("migrate", app, verbosity=verbosity)
        _make_at_once((SLOW_APP, *OURS))
    call_command("migrate", verbosity=verbosity)


def create_models(editor: BaseDatabaseSchemaEditor, app: str = SLOW_APP) -> None:
    """The tables of an app's models. Raises RuntimeError if a migration has made one of them."""
    there = set(connection.introspection.table_names())
    for model in apps.get_app_config(app).get_models():
        if not model._meta.can_migrate(editor.connection):
            continue
        if model._meta.db_table in there:
            raise RuntimeError(f"{model._meta.db_table} is there already: migrate {app} in its turn.")
        editor.create_model(model)


def _has_tables() -> bool:
    return any(name.startswith(f"{SLOW_APP}_") for name in connection.introspection.table_names())


@transaction.atomic
def _make_at_once(made: tuple[str, ...]) -> None:
    """The tables and the note that their migrations are done come together or not at all."""
    migrations = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    recorder = MigrationRecorder(connection)
    recorder.ensure_schema()
    with connection.schema_editor() as editor:
        for (app, _), migration in migrations.items():
            for operation in migration.operations if app in made else ():
                if isinstance(operation, CreateExtension):
                    operation.database_forwards(app, editor, ProjectState(), ProjectState())
        for app in made:
            create_models(editor, app)
    for app, name in migrations:
        if app in made:
            recorder.record_applied(app, name)
    pgtrigger.install()
    make_roles(apps)
