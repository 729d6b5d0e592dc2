from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to jobs and recharges."""

    dependencies = [
        ("billing_project", "0013_jobs"),
        ("invoicing", "0014_recharges"),
        ("meters", "0010_touched_customers"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
