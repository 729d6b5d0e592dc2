from typing import Any

from django.db import migrations

from billing_project.roles import make_roles


def forwards(apps: Any, schema_editor: Any) -> None:
    make_roles(apps)


class Migration(migrations.Migration):
    """The four roles. A later migration that adds models or verbs calls `make_roles` again."""

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("billing_project", "0002_api_key_history"),
        ("meters", "0003_meter_delete_delete_meterevent_append_only"),
        ("catalog", "0001_initial"),
        ("contracts", "0001_initial"),
        ("invoicing", "0001_initial"),
    ]
    operations = [migrations.RunPython(forwards, migrations.RunPython.noop)]
