"""`manage.py forget_answers`: let go of the answers kept for Idempotency-Keys."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from billing_project.idempotency import forget_answers


class Command(BaseCommand):
    help = "Delete answers kept for Idempotency-Keys for more than 24 hours. Run it daily; safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{forget_answers(timezone.now())} answers deleted.")
