"""`manage.py deliver_webhooks`: see its help."""

from typing import Any

from django.core.management.base import BaseCommand

from invoicing.delivering import deliver


class Command(BaseCommand):
    help = (
        "Post what the outbox holds to the webhook endpoints that want it, and try again what failed. "
        "Safe to repeat, to kill, and to run on several machines at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(str(deliver(webhooks=True)))
