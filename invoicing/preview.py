"""What a contract would bill under terms that are not saved: its next invoices, and the last closed periods anew.

The same gathering and the same `build_statement` as the close. Nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from catalog.money import ZERO, add, subtract
from contracts.balances import BalanceId
from contracts.models import BillingPeriod, Contract
from contracts.scheduled import scheduled_fees
from invoicing.drafts import build, drawn_balance
from invoicing.fees import due_fees
from invoicing.inputs import Terms, drawn_too, gather
from invoicing.models import OPEN, Invoice, Status
from invoicing.statement import Statement, build_scheduled, build_statement, fees_of
from meters.periods import Period, billing_periods

CLOSED_SHOWN = 3
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Next:
    """An invoice to come: of the running billing period, or of the fees due at `at`."""

    statement: Statement
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recalculated:
    """A closed period under the new terms, beside what was billed for it. `by` is the contract that was in force."""

    period: Period
    billed: Decimal
    would_be: Decimal
    by: Contract
    statement: Statement

    @property
    def difference(self) -> Decimal:
        return subtract(self.would_be, self.billed)


@dataclass(frozen=True, slots=True)
class Preview:
    running: Period | None
    coming: list[Next]
    closed: list[Recalculated]


def preview(contract: Contract, as_of: datetime) -> Preview:
    """Work out a contract as it stands in memory, saved or not. Expects its customer and rate card."""
    running = running_period(contract, as_of)
    return Preview(running, coming(contract, running) if running else [], recalculated(contract))


def running_period(contract: Contract, as_of: datetime) -> Period | None:
    """The billing period that holds an instant, or the first one of a contract to come; None once it has ended."""
    until = max(as_of, contract.starting_at)
    found = None
    terms = (contract.billing_every, contract.anchor, contract.zone, contract.starting_at, contract.ending_before)
    for period in billing_periods(*terms, until):
        found = period
    return found if found and until in found else None


def coming(contract: Contract, running: Period) -> list[Next]:
    """The invoices of a running period as they would be now: its usage, and the fees due in it."""
    fees = due_fees(Terms([contract]), [contract], running.ending_before - INSTANT)
    row = BillingPeriod(contract=contract, starting_at=running.starting_at, ending_before=running.ending_before)
    return [Next(each.statement, each.scheduled_at) for each in build([row], fees)]


def recalculated(contract: Contract) -> list[Recalculated]:
    """The customer's last closed periods, newest first, as these terms would have billed them.

    A balance is as it stood when the first of them started; what the terms newly grant is untouched then.
    """
    rows = _last_closed(contract)
    if not rows:
        return []
    first = rows[0].starting_at
    as_new = [
        BillingPeriod(contract=contract, starting_at=row.starting_at, ending_before=row.ending_before) for row in rows
    ]
    terms = Terms([contract], first)
    drawn = _waiting_draws(contract, first)
    billed = _billed(rows, contract)
    found: list[Recalculated] = []
    for row, inputs in zip(rows, gather(as_new, terms), strict=True):
        own = row.contract_id == contract.pk
        fees = _fees_within(terms, contract, inputs.period, drawn) if own else []
        statement = build_statement(drawn_too(inputs, drawn))
        _remember(drawn, statement)
        would_be = add(_charged(each) for each in (*fees, statement))
        found.append(Recalculated(inputs.period, billed[row.pk], would_be, row.contract, statement))
    return found[::-1]


def _waiting_draws(contract: Contract, before: datetime) -> dict[BalanceId, Decimal]:
    """What invoices before an instant draw that are not issued: the ledger does not know of it yet."""
    drawn: dict[BalanceId, Decimal] = {}
    rows = Invoice.objects.filter(contract=contract.pk, status__in=OPEN, starting_at__lt=before)
    for draws in rows.values_list("draws", flat=True):
        for draw in draws:
            key = drawn_balance(draw, contract.key)
            drawn[key] = add([drawn.get(key, ZERO), Decimal(draw["amount"])])
    return drawn


def _last_closed(contract: Contract) -> list[BillingPeriod]:
    """The last closed periods of the contract, before them those of the one it follows; in order of time."""
    closed = BillingPeriod.objects.filter(closed_at__isnull=False).select_related("contract")
    others = Q(contract__customer=contract.customer_id, contract__bills_all_usage=True)
    if contract.pk:
        own = closed.filter(contract=contract.pk).order_by("starting_at").first()
        others &= Q(ending_before__lte=own.starting_at if own else contract.starting_at)
        found = closed.filter(Q(contract=contract.pk) | others)
    else:
        found = closed.filter(others)
    return list(found.order_by("-starting_at")[:CLOSED_SHOWN])[::-1]


def _fees_within(terms: Terms, contract: Contract, period: Period, drawn: dict[BalanceId, Decimal]) -> list[Statement]:
    fees = fees_of(terms.inputs(contract, period))
    built = []
    for due in scheduled_fees(fees, period.starting_at - INSTANT, period.ending_before - INSTANT).values():
        statement = build_scheduled(drawn_too(terms.inputs(contract, due.period), drawn), due)
        _remember(drawn, statement)
        built.append(statement)
    return built


def _remember(drawn: dict[BalanceId, Decimal], statement: Statement) -> None:
    for draw in statement.draws:
        drawn[draw.id] = add([drawn.get(draw.id, ZERO), draw.amount])


def _charged(statement: Statement) -> Decimal:
    """What a statement bills, whether or not part of it was invoiced before its end."""
    return add([statement.total, statement.already_invoiced])


def _billed(rows: Sequence[BillingPeriod], contract: Contract) -> dict[int, Decimal]:
    """What was billed for each period: its usage invoice, and of the contract's own the fees that fell due in it."""
    billed = dict.fromkeys((row.pk for row in rows), ZERO)
    invoices = Invoice.objects.filter(contract__in={row.contract_id for row in rows}).exclude(status=Status.VOID)
    invoices = invoices.filter(ending_before__gt=rows[0].starting_at)
    for invoice in invoices.filter(kind__in=("usage", "scheduled")):
        for row in rows:
            at = invoice.scheduled_at
            own = invoice.contract_id == row.contract_id == contract.pk
            fee = own and at is not None and row.starting_at <= at < row.ending_before
            if invoice.period_id == row.pk or fee:
                billed[row.pk] = add([billed[row.pk], invoice.total.amount, invoice.already_invoiced])
    return billed
