"""Statements of billing periods and due fees, written down as draft invoices or looked at as they would be now."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from djmoney.money import Money

from billing_project.decimals import plain
from catalog.money import ZERO, add
from catalog.price_format import price_as_dict
from contracts.balances import Drawn
from contracts.billing_periods import period_at
from contracts.models import BillingPeriod, Contract
from contracts.scheduled import Due
from invoicing.fees import DueFees, due_fees
from invoicing.inputs import Terms, gather
from invoicing.models import OPEN, Invoice, InvoiceLine
from invoicing.statement import Line, Statement, StatementInputs, build_scheduled, build_statement
from meters.periods import Period

ZERO_AFTER_USAGE = "Nothing was charged although there was usage."
UNRATED = "Some usage has no rate: add one to the rate card."
USAGE_FIRST, THEN_FEES = 0, 1
Place = tuple[datetime, int]


@dataclass(frozen=True, slots=True)
class Built:
    """A statement, and what it is for: a billing period, or the fees due at an instant."""

    contract: Contract
    statement: Statement
    period: BillingPeriod | None = None
    scheduled_at: datetime | None = None


def statements(periods: Sequence[BillingPeriod]) -> list[Statement]:
    """The statements of billing periods as terms and usage stand now, in the same order."""
    built = {each.period.pk: each.statement for each in build(periods) if each.period}
    return [built[period.pk] for period in periods]


def build(
    periods: Sequence[BillingPeriod], fees: Sequence[DueFees] = (), leaving_out: Sequence[int] = ()
) -> list[Built]:
    """Build statements in order of time within each contract: the earlier ones draw from its balances first.

    What open invoices draw counts as drawn for those that come after them, but for the invoices in `leaving_out`
    and the ones of the periods themselves.
    """
    pending = _Pending(periods, fees, leaving_out)
    inputs = dict(zip((period.pk for period in periods), gather(periods), strict=True))
    terms = Terms(each.contract for each in fees) if fees else None
    work: list[tuple[int, Place, BillingPeriod | DueFees]] = [
        *((period.contract_id, (period.ending_before, USAGE_FIRST), period) for period in periods),
        *((each.contract.pk, (each.at, THEN_FEES), each) for each in fees),
    ]
    built: list[Built] = []
    for contract, place, item in sorted(work, key=lambda one: one[:2]):
        drawn = pending.before(contract, place)
        if isinstance(item, BillingPeriod):
            statement = build_statement(_drawn_too(inputs[item.pk], drawn))
            built.append(Built(item.contract, statement, period=item))
        elif terms is not None:
            statement = build_scheduled(terms.inputs(item.contract, item.due.period, drawn), item.due)
            built.append(Built(item.contract, statement, scheduled_at=item.at))
        pending.add(contract, place, statement)
    return built


class _Pending:
    """What statements that are not issued draw from balances, by contract and place in time."""

    def __init__(self, periods: Sequence[BillingPeriod], fees: Sequence[DueFees], leaving_out: Sequence[int]) -> None:
        self._draws: dict[int, list[tuple[Place, tuple[str, str], Decimal]]] = defaultdict(list)
        contracts = {period.contract_id for period in periods} | {each.contract.pk for each in fees}
        rows = Invoice.objects.filter(contract__in=contracts, status__in=OPEN).exclude(draws=[])
        rows = rows.exclude(pk__in=leaving_out).exclude(period__in=[period.pk for period in periods])
        for row in rows.values("contract", "ending_before", "scheduled_at", "draws"):
            at = row["scheduled_at"]
            place = (at, THEN_FEES) if at else (row["ending_before"], USAGE_FIRST)
            for draw in row["draws"]:
                self._draws[row["contract"]].append(
                    (place, (draw["balance"], draw["segment"]), Decimal(draw["amount"]))
                )

    def before(self, contract: int, place: Place) -> Drawn:
        drawn: dict[tuple[str, str], Decimal] = {}
        for at, balance, amount in self._draws[contract]:
            if at < place:
                drawn[balance] = add([drawn.get(balance, ZERO), amount])
        return drawn

    def add(self, contract: int, place: Place, statement: Statement) -> None:
        for draw in statement.draws:
            self._draws[contract].append((place, (draw.balance, draw.segment), draw.amount))


def _drawn_too(inputs: StatementInputs, drawn: Drawn) -> StatementInputs:
    if not drawn:
        return inputs
    balances = [replace(each, drawn=add([each.drawn, drawn.get(each.id, ZERO)])) for each in inputs.balances]
    return replace(inputs, balances=tuple(balances))


def live_statement(contract: Contract, at: datetime) -> Statement | None:
    """The statement of the billing period that holds an instant, with all usage so far; None outside the contract."""
    period = period_at(contract, at)
    return statements([with_terms(period.pk)])[0] if period else None


def with_terms(period: int) -> BillingPeriod:
    """A billing period with contract, customer and rate card read along."""
    return BillingPeriod.objects.select_related("contract__customer", "contract__rate_card").get(pk=period)


def current(invoices: Sequence[Invoice]) -> Mapping[int, Statement]:
    """What open invoices say as terms and usage stand now, by invoice. Expects the contract's terms selected along.

    They are built together: of those that draw from the same balances the earlier one does so first.
    """
    usage = {invoice.period_id: invoice for invoice in invoices if invoice.period}
    places = Counter((invoice.contract_id, invoice.scheduled_at) for invoice in invoices)
    scheduled = {
        (invoice.contract_id, invoice.scheduled_at): invoice
        for invoice in invoices
        if invoice.scheduled_at and places[invoice.contract_id, invoice.scheduled_at] == 1
    }
    found: dict[int, Statement] = {}
    together = [invoice.pk for invoice in (*usage.values(), *scheduled.values())]
    fees = _fees_of(scheduled.values())
    for each in build([row.period for row in usage.values() if row.period], fees, together):
        if each.period:
            found[usage[each.period.pk].pk] = each.statement
        elif each.scheduled_at:
            found[scheduled[each.contract.pk, each.scheduled_at].pk] = each.statement
    for invoice in invoices:
        if invoice.pk not in found:
            found[invoice.pk] = _scheduled_now(invoice)
    return found


def _fees_of(scheduled: Collection[Invoice]) -> list[DueFees]:
    """The fees scheduled invoices are for, as they are now."""
    if not scheduled:
        return []
    contracts = list({invoice.contract_id: invoice.contract for invoice in scheduled}.values())
    wanted = {(invoice.contract_id, invoice.scheduled_at) for invoice in scheduled}
    latest = max(invoice.scheduled_at or invoice.starting_at for invoice in scheduled)
    due = due_fees(Terms(contracts), contracts, latest, [invoice.pk for invoice in scheduled])
    return [each for each in due if (each.contract.pk, each.at) in wanted]


def _scheduled_now(invoice: Invoice) -> Statement:
    """One of several invoices for fees due at the same instant, or one whose fees are no longer due."""
    contract, at = invoice.contract, invoice.scheduled_at or invoice.starting_at
    due = [each for each in due_fees(Terms([contract]), [contract], at, [invoice.pk]) if each.at == at]
    for each in build([], due, leaving_out=[invoice.pk]):
        return each.statement
    empty = Terms([contract]).inputs(contract, Period(invoice.starting_at, invoice.ending_before))
    return build_scheduled(replace(empty, balances=()), Due())


def draft_invoice(built: Built) -> Invoice:
    """An unsaved draft of a statement."""
    contract, statement = built.contract, built.statement
    invoice = Invoice(
        kind=statement.kind,
        customer=contract.customer,
        contract=contract,
        period=built.period,
        scheduled_at=built.scheduled_at,
        starting_at=statement.period.starting_at,
        ending_before=statement.period.ending_before,
        net_days=contract.net_days,
    )
    apply_statement(invoice, statement)
    return invoice


def apply_statement(invoice: Invoice, statement: Statement) -> None:
    """Set totals, draws and what needs a look from a statement; lines are written by `write_lines`."""
    invoice.subtotal = Money(statement.subtotal, statement.currency)
    invoice.discount = statement.discount
    invoice.credits_applied = statement.credits_applied
    invoice.tax = statement.tax
    invoice.already_invoiced = statement.already_invoiced
    invoice.total = Money(statement.total, statement.currency)
    invoice.unrated = [
        {"product": row.product, "group": dict(row.group), "quantity": plain(row.quantity)} for row in statement.unrated
    ]
    invoice.draws = [{**asdict(draw), "amount": plain(draw.amount)} for draw in statement.draws]
    used = any(line.events for line in statement.lines)
    invoice.attention = [
        *([UNRATED] if statement.unrated else []),
        *([ZERO_AFTER_USAGE] if used and not statement.subtotal else []),
    ]


STATEMENT_FIELDS = [
    "subtotal",
    "discount",
    "credits_applied",
    "tax",
    "already_invoiced",
    "total",
    "unrated",
    "draws",
    "attention",
]


def write_lines(invoices: Iterable[tuple[Invoice, Statement]]) -> None:
    """Write the lines of saved invoices, in one insert for all of them."""
    InvoiceLine.objects.bulk_create(
        [
            invoice_line(invoice, position, line)
            for invoice, statement in invoices
            for position, line in enumerate(statement.lines, start=1)
        ],
        batch_size=2000,
    )


def invoice_line(invoice: Invoice, position: int, line: Line) -> InvoiceLine:
    return InvoiceLine(
        invoice=invoice,
        position=position,
        kind=line.kind,
        product=line.product,
        name=line.name,
        group=dict(line.group),
        starting_at=line.period.starting_at,
        ending_before=line.period.ending_before,
        meter=line.meter,
        aggregation=line.aggregation,
        events=line.events,
        quantity=line.quantity,
        billed_quantity=line.billed_quantity,
        prior_quantity=line.prior_quantity,
        unit_amount=line.unit_amount,
        amount=line.amount,
        amount_exact=line.amount_exact,
        tiers=[{name: plain(value) for name, value in asdict(tier).items()} for tier in line.tiers],
        source=line.source[:300],
        rate=line.rate,
        price=price_as_dict(line.price) if line.price is not None else None,
        unit=line.unit,
        balance=line.balance or "",
        segment=line.segment,
        share=line.share,
        subscription=line.subscription,
    )


def same_as_written(invoice: Invoice, statement: Statement) -> bool:
    """Whether the stored lines are what the statement says now."""
    expected = [_comparable(invoice_line(invoice, i, line)) for i, line in enumerate(statement.lines, start=1)]
    return expected == [_comparable(line) for line in invoice.lines.order_by("position")] and len(
        invoice.unrated
    ) == len(statement.unrated)


def _comparable(line: InvoiceLine) -> dict[str, Any]:
    return {
        field.attname: getattr(line, field.attname)
        for field in InvoiceLine._meta.concrete_fields
        if field.attname not in ("id", "invoice_id")
    }
