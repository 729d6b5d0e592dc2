from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to the answers of Stripe Tax."""

    dependencies = [
        ("billing_project", "0018_roles_of_charges"),
        ("invoicing", "0023_tax_by_stripe"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
