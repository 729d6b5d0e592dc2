from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to the rates of tax."""

    dependencies = [
        ("billing_project", "0010_roles_of_late_usage"),
        ("catalog", "0004_tax_rates"),
        ("contracts", "0005_tax"),
        ("invoicing", "0012_taxes"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
