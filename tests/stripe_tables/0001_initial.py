"""dj-stripe's tables in one go, instead of its own migrations."""

from typing import Any

from django.conf import settings
from django.db import migrations

from billing_project.tables import create_models


def create(apps: Any, schema_editor: Any) -> None:
    create_models(schema_editor)


class Migration(migrations.Migration):
    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]
    operations = [migrations.RunPython(create)]
