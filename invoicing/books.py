"""The books' invariants, one function each: what must be true of the stored rows whatever happened.

Run by `manage.py check_books` and by tests after anything that could break them. Every function returns what it found
wrong, as sentences that name the rows; nothing found means that the invariant holds.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from django.db.models import Count, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Coalesce

from billing_project.decimals import plain
from billing_project.fields import ExactField
from contracts.models import BillingPeriod, Contract, LedgerEntry
from invoicing.corrections import BILLED, CHUNK, late_days, taking_back
from invoicing.document_books import (
    amounts_are_rounded,
    credit_notes_stay_within_bounds,
    documents_are_in_the_books,
    draws_are_shown,
    earlier_invoices_are_subtracted,
    issued_is_unchanged,
    lines_add_up_to_totals,
    numbers_have_no_gaps,
)
from invoicing.late_differences import Difference, differences
from invoicing.models import (
    FROZEN,
    AccountingPeriod,
    AddedLine,
    CreditNote,
    Invoice,
    JournalEntry,
    JournalPosting,
    LateUsage,
    Payment,
    Recharge,
    Status,
)
from invoicing.revenue import RECEIVABLE, UNBILLED
from invoicing.revenue_by_day import days_add_up_to_entries
from invoicing.tax_books import tax_owed_is_what_was_charged, taxes_add_up
from meters.archived import ArchivedError
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


def reversals_take_back_what_was_paid() -> Iterator[str]:
    """A payment that was taken back is taken back whole, on the same invoice."""
    same = Q(amount=-F("reverses__amount"), invoice=F("reverses__invoice"))
    for back in Payment.objects.filter(reverses__isnull=False).exclude(same).select_related("reverses", "invoice"):
        amount, given = plain(back.amount), plain(back.reverses.amount) if back.reverses else "nothing"
        yield f"Payment {back.pk} of {back.invoice}: it is {amount}, what it takes back is {given}."


def entries_balance() -> Iterator[str]:
    """The postings of every journal entry add up to zero."""
    rows = JournalPosting.objects.values_list("entry", "entry__source").annotate(sum=Sum("amount")).order_by("entry")
    for _, source, total in rows.exclude(sum=0).iterator():
        yield f"Journal entry {source}: its postings add up to {plain(total)}."


def closed_months_take_no_entries() -> Iterator[str]:
    """Nothing was written into a month of the books after it was closed."""
    for closed in AccountingPeriod.objects.order_by("month"):
        since = JournalEntry.objects.filter(created_at__gt=closed.closed_at)
        for entry in since.filter(day__year=closed.month.year, day__month=closed.month.month).order_by("pk"):
            yield f"Journal entry {entry}: it is of {entry.day}, and was written after {closed} was closed."


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


def bills_add_up_to_usage() -> Iterator[str]:
    """What was billed of a period and found late of it is what the period comes to, by the terms of its approval and
    all usage known; unless more has just come.
    """
    _, to_look_at = late_days()
    if uncounted_events():
        return
    invoices = Invoice.objects.filter(kind=Invoice.Kind.USAGE, status__in=BILLED, contract__shadow=False)
    invoices = invoices.exclude(pk__in=to_look_at | set(taking_back().values_list("pk", flat=True))).order_by("pk")
    rows = invoices.select_related("period__contract__customer", "period__contract__rate_card")
    wanted = list(invoices.values_list("pk", flat=True))
    for start in range(0, len(wanted), CHUNK):
        chunk = list(rows.filter(pk__in=wanted[start : start + CHUNK]))
        for invoice, found in _compared(chunk):
            for each in found:
                yield (
                    f"Invoice {invoice}: {plain(each.amount)} for {each.name} ({plain(each.quantity_before)} billed, "
                    f"{plain(each.quantity_after)} used) is neither billed nor listed as late."
                )


def _compared(invoices: list[Invoice]) -> Iterator[tuple[Invoice, Sequence[Difference]]]:
    """Without those that only raw events could answer for which lie in files: restored, they can."""
    try:
        found = differences(invoices)
    except ArchivedError:
        if len(invoices) > 1:
            for invoice in invoices:
                yield from _compared([invoice])
        return
    for invoice in invoices:
        yield invoice, found[invoice.pk]


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
    "Amounts are rounded": amounts_are_rounded,
    "What is issued is unchanged": issued_is_unchanged,
    "Every closed period has exactly one invoice": every_closed_period_has_one_invoice,
    "Billing periods follow each other": periods_follow_each_other,
    "Invoice numbers have no gaps": numbers_have_no_gaps,
    "Earlier invoices of a period are subtracted": earlier_invoices_are_subtracted,
    "Balances never fall below zero": balances_are_not_negative,
    "Draws are shown": draws_are_shown,
    "Draws of issued invoices are posted": draws_are_posted,
    "Draws of voided invoices are returned": voided_draws_are_returned,
    "Payments and credit notes add up": what_is_paid_adds_up,
    "Reversals take back what was paid": reversals_take_back_what_was_paid,
    "Credit notes stay within bounds": credit_notes_stay_within_bounds,
    "Journal entries balance": entries_balance,
    "Revenue by day equals the journal": days_add_up_to_entries,
    "Documents are in the books": documents_are_in_the_books,
    "Closed months take no entries": closed_months_take_no_entries,
    "Receivables equal what is open": receivables_equal_what_is_open,
    "Taxes by rate add up": taxes_add_up,
    "Tax owed is what was charged": tax_owed_is_what_was_charged,
    "What is issued is not unbilled": unbilled_is_claimed_when_issued,
    "Late usage is billed once": late_usage_is_billed_once,
    "Bills and late usage add up to all usage": bills_add_up_to_usage,
    "Nothing is lost in a rollover": nothing_is_lost_in_a_rollover,
    "Usage of a customer is billed by one contract": usage_is_billed_once,
    "Recharges are agreed and billed": recharges_are_agreed_and_billed,
}
# What takes long where there is much of it: the time to count all events, and some 20 ms for each bill.
WORKED_OUT_AGAIN = (rollups_equal_events, bills_add_up_to_usage)
