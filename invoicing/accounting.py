"""Closing months of the books, and what the books say by month."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.locks import lock
from catalog.money import ZERO, multiply, round_amount
from contracts.balances import PREPAID
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod
from invoicing.billed_lines import billed_lines
from invoicing.draft_rows import Built, draft_invoice, draft_line
from invoicing.drafts import build
from invoicing.journal import books_zone, first_open_day, write_entries
from invoicing.models import FROZEN, AccountingPeriod, Invoice, JournalEntry
from invoicing.permissions import require
from invoicing.revenue import Entry, Part, entries_of_invoice, reversed_entry
from invoicing.statement import build_threshold
from invoicing.waterfall import Movement
from meters.periods import local_midnight

if TYPE_CHECKING:
    from django.contrib.auth.models import User

CHUNK = 500
Progress = Callable[[int], None]


def next_month(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def close_month(
    month: date, actor: "User | None", progress: Progress = lambda _: None, *, reason: str = ""
) -> AccountingPeriod:
    """Close a month of the books: usage of it that is on no issued invoice is accrued (and the accrual taken back on
    the first day of the next month), then nothing can be posted into it or before it any more.

    Raises RuleError for a month that is not over, or before one that is closed. Closing it again changes nothing.
    Without an actor a command on the server does it. What is left to do does not matter here: `month_closing` looks.
    """
    if actor is not None:
        require(actor, "invoicing.close_month")
    month = month.replace(day=1)
    end = local_midnight(next_month(month), books_zone())
    if end > timezone.now():
        raise RuleError(f"{month:%B %Y} is not over yet.", path="month")
    write_periods(end)
    with transaction.atomic():
        # What is issued meanwhile waits here, and lands in the next month.
        lock("books")
        known = AccountingPeriod.objects.filter(month=month).first()
        if known is not None:
            return known
        open_day = first_open_day()
        if open_day is not None and month < open_day:
            raise RuleError(f"A later month than {month:%B %Y} is closed already.", path="month")
        periods = unbilled_periods(end)
        for start in range(0, len(periods), CHUNK):
            _accrue(periods[start : start + CHUNK], month, end)
            progress(len(periods[start : start + CHUNK]))
        return AccountingPeriod.objects.create(month=month, closed_by=actor, reason=reason)


def unbilled_periods(end: datetime) -> list[BillingPeriod]:
    """Billing periods that began before an instant and are on no issued invoice."""
    issued = Invoice.objects.filter(period=OuterRef("pk"), kind=Invoice.Kind.USAGE, status__in=FROZEN)
    rows = BillingPeriod.objects.filter(
        ~Exists(issued.exclude(status="void")), starting_at__lt=end, contract__shadow=False
    )
    return list(rows.select_related("contract__customer", "contract__rate_card").order_by("contract", "starting_at"))


def _accrue(periods: Sequence[BillingPeriod], month: date, end: datetime) -> None:
    entries: list[Entry] = []
    heads: list[JournalEntry] = []
    last = next_month(month) - timedelta(days=1)
    for built in build(periods, until=end, settle=build_threshold):
        entry = accrual_of(built, last)
        if entry is None or built.period is None:
            continue
        back = reversed_entry(entry, next_month(month), "back")
        for each in (entry, back):
            source = f"accrual:{month:%Y-%m}:{built.period.pk}:{each.part}"
            entries.append(each)
            heads.append(
                JournalEntry(
                    kind=each.kind,
                    source=source,
                    currency=built.statement.currency,
                    customer_id=built.contract.customer_id,
                    contract_id=built.contract.pk,
                )
            )
    write_entries(entries, heads)


def accrual_of(built: Built, day: date) -> Entry | None:
    """What a statement would earn by a day, as one entry; None when that is nothing."""
    statement = built.statement
    invoice = draft_invoice(built)
    rows = [draft_line(invoice, position, line) for position, line in enumerate(statement.lines, start=1)]
    basis = {balance.id: balance.cost_basis for balance in built.balances if balance.kind == PREPAID}
    released = {
        place: round_amount(multiply(basis.get(draw.id, ZERO), draw.amount), statement.currency)
        for place, draw in enumerate(statement.draws)
    }
    by_day = (Part(day, Decimal(1)),)
    lines = [replace(line, parts=by_day) for line in billed_lines(invoice, released, rows) if line.kind != "tax"]
    earned = [entry for entry in entries_of_invoice(lines, day, statement.currency) if entry.kind == "earned"]
    return replace(earned[0], kind="accrual", part="accrual") if earned and earned[0].postings else None


BALANCES = """
SELECT e.currency, date_trunc('month', e.day)::date AS month, p.account, e.kind, sum(p.amount)
FROM invoicing_journalposting AS p JOIN invoicing_journalentry AS e ON e.id = p.entry_id
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""
WATERFALL = """
WITH issued AS (
    SELECT document, min(day) AS day FROM invoicing_journalentry WHERE kind = 'issued' AND document <> '' GROUP BY 1
)
SELECT e.currency, date_trunc('month', coalesce(i.day, e.day))::date AS invoiced, date_trunc('month', e.day)::date,
       -sum(p.amount)
FROM invoicing_journalposting AS p
JOIN invoicing_journalentry AS e ON e.id = p.entry_id
LEFT JOIN issued AS i ON i.document = e.document
WHERE p.account IN ('revenue', 'credits')
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def movements() -> list[Movement]:
    """What each account moved by in each month, by kind of entry."""
    with connection.cursor() as cursor:
        cursor.execute(BALANCES)
        return list(cursor.fetchall())


def waterfall() -> list[tuple[str, date, date, Decimal]]:
    """Revenue by the month it was invoiced in and the month it was earned in: currency, invoiced, earned, amount."""
    with connection.cursor() as cursor:
        cursor.execute(WATERFALL)
        return list(cursor.fetchall())
