from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """The deal desk, and rights to contract templates, guardrails and amendments."""

    dependencies = [
        ("billing_project", "0004_roles_of_metering"),
        ("contracts", "0004_templates_and_approval"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
