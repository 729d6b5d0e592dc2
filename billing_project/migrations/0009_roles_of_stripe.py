from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to what is exchanged with Stripe."""

    dependencies = [
        ("billing_project", "0008_roles_of_the_books"),
        ("invoicing", "0008_stripe"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
