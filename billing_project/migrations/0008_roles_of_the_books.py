from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to the journal and to closing months."""

    dependencies = [
        ("billing_project", "0007_roles_of_invoicing"),
        ("invoicing", "0007_journal"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
