from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """Rights to what is mirrored of Stripe."""

    dependencies = [
        ("billing_project", "0016_roles_of_alerts"),
        ("invoicing", "0018_mirror_of_stripe"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
