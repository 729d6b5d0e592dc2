from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to see exports."""

    dependencies = [
        ("billing_project", "0011_roles_of_tax"),
        ("invoicing", "0013_exports"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
