"""The books' invariants, one function each: what must be true of the stored rows whatever happened.

Run by `manage.py check_books` and by tests after anything that could break them. Every function returns what it found
wrong, as sentences that name the rows; nothing found means that the invariant holds.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

from django.db.models import Count, F, Max, Min, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from billing_project.decimals import plain
from billing_project.fields import ExactField
from contracts.models import BillingPeriod, LedgerEntry
from invoicing.models import FROZEN, Invoice, InvoiceLine, NumberSeries, Status
from meters.recount import find_drift

ZERO = Decimal(0)


def rollups_equal_events() -> Iterator[str]:
    """Every bucket holds what a recount of the events says."""
    for drift in find_drift():
        group = ", ".join(value or "none" for value in drift.group)
        yield (
            f"Meter {drift.meter}, {drift.customer}, {drift.size} of {drift.starting_at:%Y-%m-%d %H:%M} ({group}): "
            f"the bucket holds {drift.stored}, the events say {drift.recounted}."
        )


def lines_add_up_to_totals() -> Iterator[str]:
    """An invoice's total is the sum of its rounded lines; lines in a pricing unit come in by their conversion."""
    lines = InvoiceLine.objects.filter(invoice=OuterRef("pk"), unit="").order_by().values("invoice")
    total = Coalesce(Subquery(lines.annotate(sum=Sum("amount")).values("sum")), ZERO, output_field=ExactField())
    for invoice in Invoice.objects.annotate(of_lines=total).exclude(total=F("of_lines")).iterator():
        of_lines = plain(invoice.of_lines)
        yield f"Invoice {invoice.pk} ({invoice}): the total is {invoice.total}, its lines add up to {of_lines}."


def every_closed_period_has_one_invoice() -> Iterator[str]:
    """A closed period has exactly one usage invoice that is not void, an open one has none."""
    standing = Count("invoices", filter=Q(invoices__kind=Invoice.Kind.USAGE) & ~Q(invoices__status=Status.VOID))
    periods = BillingPeriod.objects.annotate(standing=standing).select_related("contract")
    wrong = periods.filter(Q(closed_at__isnull=False) & ~Q(standing=1) | Q(closed_at__isnull=True, standing__gt=0))
    for period in wrong.iterator():
        state = "closed" if period.closed_at else "open"
        count = period.standing
        yield f"Billing period {period}: it is {state} and has {count} invoices."


def periods_follow_each_other() -> Iterator[str]:
    """The billing periods of a contract have no gap and do not overlap."""
    following = BillingPeriod.objects.filter(contract=OuterRef("contract"), starting_at__gt=OuterRef("starting_at"))
    first = Subquery(following.order_by("starting_at").values("starting_at")[:1])
    periods = BillingPeriod.objects.annotate(next_start=first).select_related("contract")
    for period in periods.filter(next_start__isnull=False).exclude(next_start=F("ending_before")).iterator():
        yield f"Billing period {period}: the next one starts at {period.next_start}."


def numbers_have_no_gaps() -> Iterator[str]:
    """The issued invoices of a series carry its numbers from 1 to the last one, each once."""
    for series in NumberSeries.objects.all():
        numbered = Invoice.objects.filter(number__startswith=series.prefix)
        found = numbered.aggregate(count=Count("pk"), first=Min("number"), last=Max("number"))
        if found["count"] != series.last_number:
            yield (
                f"Number series {series}: {series.last_number} numbers are given out, {found['count']} invoices carry "
                f"one ({found['first']} to {found['last']})."
            )


def balances_are_not_negative() -> Iterator[str]:
    """No window of a commit or credit is drawn below zero at any moment."""
    left: dict[tuple[int, str, str], Decimal] = {}
    entries = LedgerEntry.objects.order_by("pk").values_list("pk", "contract", "balance", "segment", "amount")
    for pk, contract, balance, segment, amount in entries.iterator():
        place = (contract, balance, segment)
        left[place] = left.get(place, ZERO) + amount
        if left[place] < ZERO:
            yield f"Ledger entry {pk}: it takes {balance} of contract {contract} to {plain(left[place])}."


def draws_are_posted() -> Iterator[str]:
    """What an issued invoice draws is in the ledger, entry by entry, and nothing of it is for one that is not
    issued.
    """
    posted = dict(LedgerEntry.objects.filter(kind=LedgerEntry.Kind.DRAW).values_list("source", "amount"))
    for invoice in Invoice.objects.filter(status__in=FROZEN).exclude(draws=[]).iterator():
        for number, draw in enumerate(invoice.draws):
            source = f"invoice:{invoice.pk}:{number}"
            amount = posted.pop(source, ZERO)
            if amount != -Decimal(draw["amount"]):
                yield f"Invoice {invoice}: it draws {draw['amount']} from {draw['balance']}, the ledger has {amount}."
    for source in posted:
        yield f"Ledger: {source} is posted, but no issued invoice draws it."


INVARIANTS: dict[str, Callable[[], Iterator[str]]] = {
    "Rollups equal a recount of the events": rollups_equal_events,
    "Lines add up to totals": lines_add_up_to_totals,
    "Every closed period has exactly one invoice": every_closed_period_has_one_invoice,
    "Billing periods follow each other": periods_follow_each_other,
    "Invoice numbers have no gaps": numbers_have_no_gaps,
    "Balances never fall below zero": balances_are_not_negative,
    "Draws of issued invoices are posted": draws_are_posted,
}
