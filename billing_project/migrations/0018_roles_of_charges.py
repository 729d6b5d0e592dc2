from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to charges of invoices."""

    dependencies = [
        ("billing_project", "0017_roles_of_the_mirror"),
        ("invoicing", "0021_charges"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
