"""`manage.py export_journal`: the books as CSV, or as text for beancount."""

import csv
import re
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand

from billing_project.decimals import plain
from invoicing.management.commands.close_month import month_of
from invoicing.models import JournalEntry, JournalPosting
from invoicing.revenue import TAX

COLUMNS = (
    *("day", "entry", "source", "kind", "document", "customer", "contract", "account", "product", "balance"),
    *("currency", "amount"),
)
# Where each account stands in beancount's five kinds.
BEANCOUNT = {
    "receivable": "Assets:Receivable",
    "cash": "Assets:Cash",
    "unbilled": "Assets:Unbilled",
    "tax": "Liabilities:Tax",
    "deferred_revenue": "Liabilities:DeferredRevenue",
    "revenue": "Income:Revenue",
    "credits": "Income:Credits",
    "bad_debt": "Expenses:BadDebt",
}


class Command(BaseCommand):
    help = "Write the journal to standard output, in order of days; amounts above zero are debits."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=["csv", "beancount"], default="csv")
        parser.add_argument("--month", type=month_of, help="Only this month, such as 2026-01.")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = JournalEntry.objects.select_related("customer", "contract").prefetch_related("postings")
        if options["month"]:
            rows = rows.filter(day__year=options["month"].year, day__month=options["month"].month)
        entries = rows.order_by("day", "pk").iterator(chunk_size=2000)
        if options["format"] == "csv":
            writer = csv.writer(self.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_csv_rows(entries))
        else:
            self.stdout.writelines(_beancount(entries))


def _csv_rows(entries: Iterator[JournalEntry]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        for posting in entry.postings.all():
            yield (
                *(entry.day.isoformat(), str(entry.pk), entry.source, entry.kind, entry.document),
                *(entry.customer.key, entry.contract.key if entry.contract else "", posting.account),
                *(posting.product, posting.balance, entry.currency, plain(posting.amount)),
            )


def _beancount(entries: Iterator[JournalEntry]) -> Iterator[str]:
    first = JournalEntry.objects.values_list("day", flat=True).first()
    names = {_account(each) for each in JournalPosting.objects.distinct("account", "product").order_by("account")}
    for name in sorted(names):
        yield f"{first} open {name}\n"
    for entry in entries:
        about = _quoted(f"{entry.kind} {entry.document}".strip())
        yield f"\n{entry.day} * {_quoted(entry.customer.name)} {about}\n  source: {_quoted(entry.source)}\n"
        for posting in entry.postings.all():
            yield f"  {_account(posting)}  {plain(posting.amount)} {entry.currency}\n"


def _account(posting: JournalPosting) -> str:
    """What is owed of each rate of tax has an account of its own."""
    key = re.sub(r"[^A-Za-z0-9]+", "-", posting.product).strip("-").upper() if posting.account == TAX else ""
    return f"{BEANCOUNT[posting.account]}:{key}" if key else BEANCOUNT[posting.account]


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text).replace("\n", " ") + '"'
