"""`manage.py billing_schema`: the JSON Schema of the billing file."""

import json
from typing import Any

from django.core.management.base import BaseCommand

from invoicing.billing_file.schema import json_schema


class Command(BaseCommand):
    help = "Print the JSON Schema of billing files, made from what reads them. Editors check and complete from it."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False))
