"""Late usage: usage of periods that are invoiced already is found, decided about, and billed once.

Found by re-rating: a period with events counted after it was over is worked out again, by the terms of its approval,
with all usage known; what that comes to more than its invoice and earlier finds is one row for each product, group and
slice. By default it becomes a dated line of the contract's next invoice.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from catalog.money import subtract
from contracts.period_text import period_text
from invoicing.late_differences import Difference, differences
from invoicing.models import AddedLine, Invoice, LateUsage, Status
from invoicing.rebuilding import rebuild
from meters.late_days import forget

CHUNK = 500
BILLED = (Status.ISSUED, Status.PAID, Status.UNCOLLECTIBLE)
TAKES_LINES = (Status.DRAFT, Status.IN_REVIEW)
Decision = LateUsage.Decision

# A level goes on after the events that changed it, so every invoice that ends after a late day is looked at. Days of
# customers of no contract stay on the queue: somebody may claim them. So do those that an approved invoice may lack.
LATE = """
SELECT l.subject_id, l.day, l.passes, i.id, i.status
FROM meters_lateday AS l
JOIN meters_subject AS s ON s.id = l.subject_id
JOIN contracts_customerkey AS ck ON ck.key = s.key
JOIN contracts_customer AS cu ON cu.id = ck.customer_id
LEFT JOIN (
    contracts_contract AS k
    JOIN invoicing_invoice AS i ON i.contract_id = k.id AND i.kind = 'usage'
        AND i.status IN ('approved', 'issued', 'paid', 'uncollectible')
) ON (k.customer_id = cu.id OR k.deal -> 'usage_customers' ? cu.key) AND i.ending_before > l.day
WHERE %(contract)s::text IS NULL OR k.key = %(contract)s
ORDER BY l.day, l.subject_id
"""


@dataclass(slots=True)
class Found:
    """What a search did: invoices looked at, rows of late usage found, rows put on open invoices."""

    invoices: int = 0
    rows: int = 0
    billed: int = 0


def find_late_usage(as_of: datetime, contract: str | None = None) -> Found:
    """Find the late usage of issued invoices and put what is to be billed next on open ones. Safe to repeat, to kill,
    and to run on several machines: the rows of an invoice are written under its lock.
    """
    found = Found()
    seen, candidates = late_days(contract)
    candidates |= set(_always(as_of, contract).values_list("pk", flat=True))
    wanted = sorted(candidates)
    for start in range(0, len(wanted), CHUNK):
        _find(wanted[start : start + CHUNK], found)
    # Only now: a search that is killed is done again.
    forget(seen)
    found.billed = bill_next(contract)
    return found


def late_days(contract: str | None = None) -> tuple[set[tuple[int, datetime, int]], set[int]]:
    """The rows of the queue that will have been seen to, and the invoices they may concern."""
    seen: set[tuple[int, datetime, int]] = set()
    kept: set[tuple[int, datetime, int]] = set()
    invoices: set[int] = set()
    with connection.cursor() as cursor:
        cursor.execute(LATE, {"contract": contract})
        for subject, day, passes, invoice, status in cursor.fetchall():
            seen.add((subject, day, passes))
            if status == Status.APPROVED:
                kept.add((subject, day, passes))
            elif invoice is not None:
                invoices.add(invoice)
    # A search for one contract leaves the days to the others that may bill them too.
    return (set() if contract else seen - kept), invoices


def _always(as_of: datetime, contract: str | None) -> QuerySet[Invoice]:
    """Those issued before their last day was over, of which late events may be on no queue, and `taking_back`."""
    day = timedelta(days=1)
    early = Invoice.objects.filter(issued_at__lt=F("ending_before") + day, ending_before__gt=as_of - 3 * day)
    early = early.filter(kind=Invoice.Kind.USAGE, status__in=BILLED)
    rows = Invoice.objects.filter(Q(pk__in=early) | Q(pk__in=taking_back()))
    return rows.filter(contract__key=contract) if contract else rows


def taking_back() -> QuerySet[Invoice]:
    """Issued in place of an invoice whose late usage is billed elsewhere, and now by them once more."""
    rows = Invoice.objects.filter(kind=Invoice.Kind.USAGE, status__in=BILLED, replaces__isnull=False)
    found = LateUsage.objects.filter(period=OuterRef("period")).exclude(decision=Decision.SUPERSEDED)
    since = found.filter(invoice=OuterRef("pk"))
    return rows.filter(Exists(found), ~Exists(since))


def _find(candidates: Collection[int], found: Found) -> None:
    with transaction.atomic():
        rows = Invoice.objects.filter(pk__in=candidates, kind=Invoice.Kind.USAGE, status__in=BILLED)
        invoices = list(
            rows.select_related("period__contract__customer", "period__contract__rate_card")
            .order_by("pk")
            .select_for_update(of=("self",))
        )
        found_now = differences(invoices)
        new = [_row(invoice, each) for invoice in invoices for each in found_now[invoice.pk]]
        LateUsage.objects.bulk_create(new)
    found.invoices += len(invoices)
    found.rows += len(new)


def _row(invoice: Invoice, difference: Difference) -> LateUsage:
    place = difference.place
    return LateUsage(
        invoice=invoice,
        period=invoice.period,
        product=place.product,
        name=difference.name,
        group=dict(place.group),
        starting_at=place.period.starting_at,
        ending_before=place.period.ending_before,
        quantity_before=difference.quantity_before,
        quantity_after=difference.quantity_after,
        amount=difference.amount,
    )


def waiting() -> QuerySet[LateUsage]:
    """Late usage that is to go on the next invoice and is on none yet."""
    return LateUsage.objects.filter(decision=Decision.NEXT_INVOICE, added_line=None)


def bill_next(contract: str | None = None) -> int:
    """Put late usage on the next open invoice of its contract, or of the one that renews it; returns how many rows.
    What has no open invoice waits.
    """
    rows = waiting().filter(invoice__contract__key=contract) if contract else waiting()
    contracts = set(rows.values_list("invoice__contract", flat=True))
    billed = 0
    wanted = sorted(contracts)
    for start in range(0, len(wanted), CHUNK):
        billed += _bill_chunk(wanted[start : start + CHUNK])
    return billed


def _bill_chunk(contracts: Collection[int]) -> int:
    with transaction.atomic():
        # Invoices before late usage, as everywhere: two orders would deadlock.
        targets = _next_invoices(contracts)
        rows = list(
            waiting()
            .filter(invoice__contract__in=targets)
            .select_related("invoice__contract")
            .order_by("pk")
            .select_for_update(of=("self",))
        )
        for row in rows:
            row.added_line = line_of(row, targets[row.invoice.contract_id])
        LateUsage.objects.bulk_update(rows, ["added_line"])
        changed = {line.invoice_id: line.invoice for row in rows if (line := row.added_line) is not None}
        if changed:
            rebuild(list(changed.values()))
    return len(rows)


def _next_invoices(contracts: Collection[int]) -> dict[int, Invoice]:
    """By contract, the first open usage invoice that still takes lines; locked."""
    rows = (
        Invoice.objects.filter(
            Q(contract__in=contracts) | Q(contract__renews__in=contracts),
            kind=Invoice.Kind.USAGE,
            status__in=TAKES_LINES,
        )
        .select_related("period__contract__customer", "period__contract__rate_card")
        .select_related("contract__customer", "contract__rate_card")
        .order_by("pk")
        .select_for_update(of=("self",))
    )
    found: dict[int, list[Invoice]] = defaultdict(list)
    for invoice in rows:
        for contract in (invoice.contract_id, invoice.contract.renews_id):
            if contract is not None:
                found[contract].append(invoice)
    return {
        contract: min(invoices, key=lambda each: (each.ending_before, each.pk))
        for contract, invoices in found.items()
        if contract in contracts
    }


def line_of(row: LateUsage, invoice: Invoice) -> AddedLine:
    """The line that bills a row; its cause is unique, so no row is billed twice."""
    quantity = subtract(row.quantity_after, row.quantity_before)
    span = period_text(row.starting_at, row.ending_before, row.invoice.contract.zone)
    return AddedLine.objects.create(
        cause=row.cause,
        invoice=invoice,
        kind=AddedLine.Kind.CORRECTION,
        product=row.product,
        name=f"{row.name}, correction of {span}"[:200],
        group=row.group,
        starting_at=row.starting_at,
        ending_before=row.ending_before,
        quantity=quantity,
        amount=row.amount,
        amount_exact=row.amount,
        reason=f"Late usage of invoice {row.invoice.number}",
    )
