"""The books' invariants, one function each: what must be true of the stored rows whatever happened.

Run by `manage.py check_books` and by tests after anything that could break them. Every function returns what it found
wrong, as sentences that name the rows; nothing found means that the invariant holds.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

from django.db.models import Count, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from billing_project.decimals import plain
from billing_project.fields import ExactField
from contracts.models import BillingPeriod, Contract, LedgerEntry
from invoicing.corrections import BILLED, late_days, taking_back
from invoicing.late_differences import differences
from invoicing.models import (
    FROZEN,
    AddedLine,
    CreditNote,
    Invoice,
    InvoiceLine,
    JournalPosting,
    LateUsage,
    NumberSeries,
    Payment,
    Recharge,
    Status,
)
from invoicing.revenue import RECEIVABLE, UNBILLED
from invoicing.revenue_by_day import days_add_up_to_entries
from invoicing.tax_books import tax_owed_is_what_was_charged, taxes_add_up
from meters.backlog import uncounted_events
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
    """The issued documents of a series carry its numbers from 1 to the last one, each once."""
    for series in NumberSeries.objects.all():
        carried = [
            str(number)
            for documents in (Invoice.objects.all(), CreditNote.objects.all())
            for number in documents.filter(number__startswith=series.prefix).values_list("number", flat=True)
        ]
        if len(carried) != series.last_number:
            span = f" ({min(carried)} to {max(carried)})" if carried else ""
            yield (
                f"Number series {series}: {series.last_number} numbers are given out, {len(carried)} documents carry "
                f"one{span}."
            )


def balances_are_not_negative() -> Iterator[str]:
    """No window of a commit or credit is drawn below zero at any moment."""
    left: dict[tuple[int | None, int, str, str], Decimal] = {}
    entries = LedgerEntry.objects.order_by("pk")
    names = ("pk", "contract", "customer", "balance", "segment", "amount")
    for pk, contract, customer, balance, segment, amount in entries.values_list(*names).iterator():
        place = (contract, customer, balance, segment)
        left[place] = left.get(place, ZERO) + amount
        if left[place] < ZERO:
            owner = f"customer {customer}" if contract is None else f"contract {contract}"
            yield f"Ledger entry {pk}: it takes {balance} of {owner} to {plain(left[place])}."


def nothing_is_lost_in_a_rollover() -> Iterator[str]:
    """What rolls out of windows of a commit or credit rolls into others of the same customer."""
    rolled = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.ROLLOVER).values("customer__key", "balance")
    for row in rolled.annotate(total=Sum("amount")).exclude(total=0).order_by("customer__key", "balance"):
        key, customer, more = row["balance"], row["customer__key"], plain(row["total"])
        yield f"Commit or credit {key} of customer {customer}: {more} more rolled in than out."


def usage_is_billed_once() -> Iterator[str]:
    """No contract bills usage of a customer below that another contract bills in the same time."""
    for contract in Contract.objects.filter(bills_all_usage=True, deal__has_key="usage_customers").iterator():
        named = contract.deal["usage_customers"]
        others = Contract.objects.filter(bills_all_usage=True).exclude(pk=contract.pk)
        others = others.filter(Q(customer__key__in=named) | Q(deal__usage_customers__has_any_keys=named))
        others = others.filter(Q(ending_before__isnull=True) | Q(ending_before__gt=contract.starting_at))
        if contract.ending_before:
            others = others.filter(starting_at__lt=contract.ending_before)
        for other in others:
            yield f"Contracts {contract} and {other} bill the usage of the same customer in the same time."


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


def voided_draws_are_returned() -> Iterator[str]:
    """What a voided invoice drew went back, and nothing else did."""
    returned = dict(LedgerEntry.objects.filter(kind=LedgerEntry.Kind.VOID_RETURN).values_list("source", "amount"))
    for invoice in Invoice.objects.filter(status=Status.VOID).exclude(draws=[]).iterator():
        for number, draw in enumerate(invoice.draws):
            amount = returned.pop(f"invoice:{invoice.pk}:{number}:void", ZERO)
            if amount != Decimal(draw["amount"]):
                yield f"Invoice {invoice} is void: {draw['amount']} of {draw['balance']} should be back, {amount} is."
    for source in returned:
        yield f"Ledger: {source} is returned, but no voided invoice drew it."


def what_is_paid_adds_up() -> Iterator[str]:
    """What an invoice says is paid and credited is the sum of its payments and issued credit notes; it is paid exactly
    when nothing is open.
    """
    paid = Payment.objects.filter(invoice=OuterRef("pk")).order_by().values("invoice")
    notes = CreditNote.objects.filter(invoice=OuterRef("pk"), status="issued").order_by().values("invoice")
    sums = {
        name: Coalesce(Subquery(rows.annotate(sum=Sum(field)).values("sum")), ZERO, output_field=ExactField())
        for name, rows, field in (("payments", paid, "amount"), ("notes", notes, "total"))
    }
    for invoice in Invoice.objects.annotate(payments_sum=sums["payments"], notes_sum=sums["notes"]).iterator():
        if (invoice.paid_amount, invoice.credited_amount) != (invoice.payments_sum, invoice.notes_sum):
            yield (
                f"Invoice {invoice}: it says {plain(invoice.paid_amount)} paid and {plain(invoice.credited_amount)} "
                f"credited, the entries {plain(invoice.payments_sum)} and {plain(invoice.notes_sum)}."
            )
        if invoice.status in (Status.ISSUED, Status.PAID) and (invoice.status == Status.PAID) != (
            invoice.open_amount <= 0
        ):
            yield f"Invoice {invoice}: it is {invoice.status}, and {plain(invoice.open_amount)} is open."


def entries_balance() -> Iterator[str]:
    """The postings of every journal entry add up to zero."""
    rows = JournalPosting.objects.values_list("entry", "entry__source").annotate(sum=Sum("amount")).order_by("entry")
    for _, source, total in rows.exclude(sum=0).iterator():
        yield f"Journal entry {source}: its postings add up to {plain(total)}."


def receivables_equal_what_is_open() -> Iterator[str]:
    """What the books say customers owe is what is open on their issued invoices, by customer and currency."""
    owed: dict[tuple[str, str], Decimal] = {}
    for invoice in Invoice.objects.filter(status__in=(Status.ISSUED, Status.PAID)).select_related("customer"):
        place = invoice.customer.key, str(invoice.total.currency)
        owed[place] = owed.get(place, ZERO) + invoice.open_amount
    booked = JournalPosting.objects.filter(account=RECEIVABLE).values_list("entry__customer__key", "entry__currency")
    for customer, currency, total in booked.annotate(sum=Sum("amount")).order_by("entry__customer__key"):
        open_amount = owed.pop((customer, currency), ZERO)
        if open_amount != total:
            yield f"Customer {customer}: {open_amount} {currency} is open, the books say {plain(total)}."
    for (customer, currency), amount in owed.items():
        if amount:
            yield f"Customer {customer}: {amount} {currency} is open, the books know nothing of it."


def unbilled_is_claimed_when_issued() -> Iterator[str]:
    """An issued invoice leaves nothing of what it is for unbilled."""
    rows = JournalPosting.objects.filter(account=UNBILLED).exclude(entry__kind="accrual")
    for document, total in rows.values_list("entry__document").annotate(sum=Sum("amount")).exclude(sum=0).order_by():
        yield f"Document {document}: {plain(total)} of it is still unbilled."


def late_usage_is_billed_once() -> Iterator[str]:
    """Every row of late usage is on one line at most, over its own amount, and every such line is of one row."""
    lines = {line.pk: line for line in AddedLine.objects.filter(kind=AddedLine.Kind.CORRECTION)}
    for row in LateUsage.objects.exclude(added_line=None).select_related("invoice").iterator():
        line = lines.pop(row.added_line_id or 0, None)
        if line is None or line.cause != row.cause or line.amount != row.amount:
            yield f"Late usage {row.pk} of {row.invoice}: the line that bills it is another's or over another amount."
    for line in lines.values():
        yield f"Correction {line.cause} ({line.name}): no late usage is billed by it."


def late_usage_adds_up() -> Iterator[str]:
    """What was billed of a period and found late of it is what the period comes to, unless more has just come."""
    counting = LateUsage.objects.exclude(decision=LateUsage.Decision.SUPERSEDED).values("period")
    invoices = Invoice.objects.filter(kind=Invoice.Kind.USAGE, status__in=BILLED, period__in=counting)
    _, to_look_at = late_days()
    invoices = invoices.exclude(pk__in=to_look_at | set(taking_back().values_list("pk", flat=True)))
    rows = list(invoices.select_related("period__contract__customer", "period__contract__rate_card"))
    if not rows or uncounted_events():
        return
    found = differences(rows)
    for invoice in rows:
        for each in found[invoice.pk]:
            yield f"Invoice {invoice}: {plain(each.amount)} for {each.name} is late and not listed."


def recharges_are_agreed_and_billed() -> Iterator[str]:
    """A usable recharge is a commit of its contract over its amount, one that waits is none; what it costs is on its
    invoice.
    """
    for made in Recharge.objects.select_related("contract", "invoice").iterator():
        commits = {each["key"]: each for each in made.contract.deal.get("commits", ())}
        agreed = made.balance in commits
        if agreed != (made.status == Recharge.Status.USABLE):
            yield f"Recharge {made}: it is {made.status}, and {'a' if agreed else 'no'} commit of the contract."
        if made.charge and (made.invoice is None or made.invoice.subtotal.amount != made.charge):
            yield f"Recharge {made}: it costs {plain(made.charge)}, its invoice says something else."


INVARIANTS: dict[str, Callable[[], Iterator[str]]] = {
    "Rollups equal a recount of the events": rollups_equal_events,
    "Lines add up to totals": lines_add_up_to_totals,
    "Every closed period has exactly one invoice": every_closed_period_has_one_invoice,
    "Billing periods follow each other": periods_follow_each_other,
    "Invoice numbers have no gaps": numbers_have_no_gaps,
    "Balances never fall below zero": balances_are_not_negative,
    "Draws of issued invoices are posted": draws_are_posted,
    "Draws of voided invoices are returned": voided_draws_are_returned,
    "Payments and credit notes add up": what_is_paid_adds_up,
    "Journal entries balance": entries_balance,
    "Revenue by day equals the journal": days_add_up_to_entries,
    "Receivables equal what is open": receivables_equal_what_is_open,
    "Taxes by rate add up": taxes_add_up,
    "Tax owed is what was charged": tax_owed_is_what_was_charged,
    "What is issued is not unbilled": unbilled_is_claimed_when_issued,
    "Late usage is billed once": late_usage_is_billed_once,
    "Bills and late usage add up to all usage": late_usage_adds_up,
    "Nothing is lost in a rollover": nothing_is_lost_in_a_rollover,
    "Usage of a customer is billed by one contract": usage_is_billed_once,
    "Recharges are agreed and billed": recharges_are_agreed_and_billed,
}
