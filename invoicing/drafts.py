"""Writing statements down as draft invoices, and reading what a draft would be right now."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from contracts.models import BillingPeriod, Contract
from djmoney.money import Money

from billing_project.decimals import plain
from contracts.billing_periods import period_at
from invoicing.inputs import gather
from invoicing.models import Invoice, InvoiceLine
from invoicing.statement import Line, Statement, build_statement

ZERO_AFTER_USAGE = "Nothing was charged although there was usage."
UNRATED = "Some usage has no rate: add one to the rate card."


def statements(periods: Sequence[BillingPeriod]) -> list[Statement]:
    """The statements of billing periods as terms and usage stand now, in the same order."""
    return [build_statement(inputs) for inputs in gather(periods)]


def live_statement(contract: Contract, at: datetime) -> Statement | None:
    """The statement of the billing period that holds an instant, with all usage so far; None outside the contract."""
    period = period_at(contract, at)
    return statements([with_terms(period)])[0] if period else None


def with_terms(period: BillingPeriod) -> BillingPeriod:
    """The same period with contract, customer and rate card read along."""
    return BillingPeriod.objects.select_related("contract__customer", "contract__rate_card").get(pk=period.pk)


def draft_invoice(period: BillingPeriod, statement: Statement) -> Invoice:
    """An unsaved draft for a billing period."""
    contract = period.contract
    invoice = Invoice(
        customer=contract.customer,
        contract=contract,
        period=period,
        starting_at=period.starting_at,
        ending_before=period.ending_before,
        net_days=contract.net_days,
    )
    apply_statement(invoice, statement)
    return invoice


def apply_statement(invoice: Invoice, statement: Statement) -> None:
    """Set totals and what needs a look from a statement; lines are written by `write_lines`."""
    invoice.subtotal = Money(statement.subtotal, statement.currency)
    invoice.total = Money(statement.total, statement.currency)
    invoice.unrated = [
        {"product": row.product, "group": dict(row.group), "quantity": plain(row.quantity)} for row in statement.unrated
    ]
    used = any(line.events for line in statement.lines)
    invoice.attention = [
        *([UNRATED] if statement.unrated else []),
        *([ZERO_AFTER_USAGE] if used and not statement.total else []),
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
        source=line.source,
        rate=line.rate,
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
