"""Invoices in review as a close leaves them: a month on 5 meters, 8 lines, draws on a commit each."""

from datetime import timedelta

import psycopg
from django.contrib.auth.models import User
from django.utils import timezone

from invoicing.close import close_periods, grace
from invoicing.models import Invoice, Status
from meters.partitions import next_month
from tests.benchmarks.close import add, prepare
from tests.benchmarks.history import fill_dictionaries
from tests.benchmarks.stream import month_before


def make_invoices(url: str, many: int) -> list[int]:
    """Their ids. Every one is another customer's."""
    month = month_before(timezone.now())
    until = next_month(month)
    with psycopg.connect(url, autocommit=True) as connection:
        fill_dictionaries(connection, many)
        prepare(connection, month, until)
        add(connection, month, until, 1, many)
        close_periods(until + grace() + timedelta(hours=1))
        connection.execute("VACUUM ANALYZE")
    return list(Invoice.objects.filter(status=Status.IN_REVIEW).order_by("pk").values_list("pk", flat=True))


def finance() -> User:
    """Who approves and issues, and had no part in what is billed."""
    return User.objects.create_superuser("benchmark")
