from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to alerts, webhook endpoints and deliveries."""

    dependencies = [
        ("billing_project", "0015_roles_of_bulk_steps"),
        ("invoicing", "0017_alerts_and_outbox"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
