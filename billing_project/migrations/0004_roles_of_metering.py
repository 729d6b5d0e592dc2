from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to the models that came since: event sources, archived months."""

    dependencies = [
        ("billing_project", "0003_roles"),
        ("meters", "0006_replay_and_keeping"),
        ("catalog", "0003_terms"),
        ("contracts", "0002_terms"),
        ("invoicing", "0002_terms"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
