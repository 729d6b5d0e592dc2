from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to see steps taken for many invoices."""

    dependencies = [
        ("billing_project", "0014_roles_of_jobs"),
        ("invoicing", "0015_bulk_steps"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
