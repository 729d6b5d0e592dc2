from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to payments, credit notes, lines by hand and auto-approval rules."""

    dependencies = [
        ("billing_project", "0006_answered_writes"),
        ("invoicing", "0006_money_in"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
