"""All tables, in seconds."""

from django.apps import apps
from django.core.management import call_command
from django.db import connection, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

SLOW_APP = "djstripe"  # its 62 tables take its own migrations some 40 s of CPU, and one go half a second


def make_tables(*, verbosity: int = 0) -> None:
    """What `migrate` does, with a shortcut for dj-stripe where it has no tables yet."""
    if not _has_tables():
        # Before there are other models: each of procrastinate's many migrations would draw them all up again.
        for app in ("auth", "procrastinate"):
            call_command("migrate", app, verbosity=verbosity)
        _make_at_once()
    call_command("migrate", verbosity=verbosity)


def create_models(editor: BaseDatabaseSchemaEditor) -> None:
    for model in apps.get_app_config(SLOW_APP).get_models():
        if model._meta.can_migrate(editor.connection):
            editor.create_model(model)


def _has_tables() -> bool:
    return any(name.startswith(f"{SLOW_APP}_") for name in connection.introspection.table_names())


@transaction.atomic
def _make_at_once() -> None:
    """The tables and the note that their migrations are done come together or not at all."""
    with connection.schema_editor() as editor:
        create_models(editor)
    recorder = MigrationRecorder(connection)
    for app, name in MigrationLoader(None, ignore_no_migrations=True).disk_migrations:
        if app == SLOW_APP:
            recorder.record_applied(app, name)
