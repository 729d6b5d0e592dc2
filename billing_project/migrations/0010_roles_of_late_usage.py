from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to late usage."""

    dependencies = [
        ("billing_project", "0009_roles_of_stripe"),
        ("invoicing", "0010_late_usage"),
        ("meters", "0009_late_days"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
