"""What became of a scenario: every statement, balance and quantity as of an instant."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Min

from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract, Customer, CustomerKey
from contracts.unclaimed import unclaimed_usage
from invoicing.billing_file.amounts import instant, money, quantity
from invoicing.billing_file.balance_results import balance_rows
from invoicing.close import grace
from invoicing.draft_rows import Built, draft_invoice, draft_line
from invoicing.drafts import build
from invoicing.fees import due_fees
from invoicing.inputs import Terms
from invoicing.models import Invoice, InvoiceLine
from invoicing.shadows import ComparedLine, Comparison, comparisons
from meters.aggregation import UsageRequest, quantities
from meters.models import Event, Meter
from meters.periods import Period

Statements = list[tuple[Invoice, list[InvoiceLine]]]


def result(name: str, as_of: datetime) -> dict[str, Any]:
    """The RESULT of everything in the database."""
    contracts = list(Contract.objects.select_related("customer", "rate_card").order_by("key"))
    sharing = list(Customer.objects.exclude(funds={}).order_by("key"))
    statements = _written() + _not_written(contracts, as_of)
    statements.sort(key=lambda one: _place(one[0]))
    return {
        "name": name,
        "as_of": instant(as_of),
        "invoices": [invoice_row(invoice, lines) for invoice, lines in statements],
        "balances": balance_rows(contracts, sharing, statements, as_of),
        "shadows": _shadows(contracts, as_of),
        "usage": _usage(contracts, as_of),
        "unclaimed": [{"customer": each.key, "events": each.events} for each in unclaimed_usage()],
    }


def _place(invoice: Invoice) -> tuple[Any, ...]:
    return invoice.contract.key, invoice.starting_at, invoice.ending_before, invoice.kind, invoice.scheduled_at or 0


def _written() -> Statements:
    rows = list(Invoice.objects.select_related("payer", "contract__customer", "contract__rate_card"))
    lines: dict[int, list[InvoiceLine]] = defaultdict(list)
    for line in InvoiceLine.objects.filter(invoice__in=rows).order_by("position") if rows else ():
        lines[line.invoice_id].append(line)
    return [(row, lines[row.pk]) for row in rows]


def _not_written(contracts: Sequence[Contract], as_of: datetime) -> Statements:
    """The running periods as they would be now, and everything of shadow contracts."""
    write_periods(as_of)
    known = {each.pk: each for each in contracts}
    periods = list(
        BillingPeriod.objects.filter(starting_at__lte=as_of, closed_at=None).order_by("contract", "starting_at")
    )
    for period in periods:
        period.contract = known[period.contract_id]
    shadows = [each for each in contracts if each.shadow]
    fees = due_fees(Terms(shadows), shadows, as_of) if shadows else []
    return [as_invoice(built) for built in build(periods, fees)]


def _shadows(contracts: Sequence[Contract], as_of: datetime) -> list[dict[str, Any]]:
    """Each closed period of a shadow contract beside what was billed for it."""
    found = comparisons([each for each in contracts if each.shadow], as_of)
    return [
        {
            "contract": each.contract.key,
            "customer": each.contract.customer.key,
            "period": _period(each.period.starting_at, each.period.ending_before),
            "currency": each.contract.currency,
            **_sides(each, each.contract.currency),
            "lines": [
                {"kind": line.kind, "product": line.product, "name": line.name, "group": line.group}
                | _sides(line, each.contract.currency)
                for line in each.lines
            ],
        }
        for each in found
    ]


def _sides(compared: Comparison | ComparedLine, currency: str) -> dict[str, str]:
    return {name: money(getattr(compared, name), currency) for name in ("actual", "shadow", "difference")}


def as_invoice(built: Built) -> tuple[Invoice, list[InvoiceLine]]:
    """A statement as the invoice it would be, with its lines, not saved."""
    invoice = draft_invoice(built)
    return invoice, [draft_line(invoice, place, line) for place, line in enumerate(built.statement.lines, start=1)]


def invoice_row(invoice: Invoice, lines: Iterable[InvoiceLine]) -> dict[str, Any]:
    """An invoice, written or not, as results and the API show it. Expects its contract and customer read along."""
    contract, currency = invoice.contract, str(invoice.total.currency)
    shadow = contract.shadow
    return {
        "customer": contract.customer.key,
        "payer": (invoice.payer or contract.customer).key,
        "contract": contract.key,
        "kind": invoice.kind,
        "status": "shadow" if shadow else invoice.status,
        "shadow": shadow,
        "currency": currency,
        "period": _period(invoice.starting_at, invoice.ending_before),
        "issue_at": instant(invoice.scheduled_at or invoice.ending_before + grace()),
        "lines": [line_row(line, currency) for line in lines],
        "subtotal": money(invoice.subtotal.amount, currency),
        "discount": money(invoice.discount, currency),
        "credits_applied": money(invoice.credits_applied, currency),
        "tax": money(invoice.tax, currency),
        "taxes": invoice.taxes,
        "already_invoiced": money(invoice.already_invoiced, currency),
        "total": money(invoice.total.amount, currency),
        "unrated": invoice.unrated,
    }


def _period(starting_at: datetime, ending_before: datetime) -> dict[str, str]:
    return {"starting_at": instant(starting_at), "ending_before": instant(ending_before)}


def line_row(line: InvoiceLine, currency: str) -> dict[str, Any]:
    def amount(value: Decimal | str) -> str:
        value = Decimal(value)
        return quantity(value) if line.unit else money(value, currency)

    return {
        "product": line.product,
        "kind": line.kind,
        "name": line.name,
        "group": line.group,
        "starting_at": instant(line.starting_at),
        "ending_before": instant(line.ending_before),
        "quantity": quantity(line.quantity),
        "billed_quantity": quantity(line.billed_quantity),
        "unit_amount": None if line.unit_amount is None else amount(line.unit_amount),
        "amount": amount(line.amount),
        "amount_exact": amount(line.amount_exact),
        "balance": line.balance or None,
        "tiers": [
            {name: quantity(Decimal(value)) if name == "quantity" else amount(value) for name, value in tier.items()}
            for tier in line.tiers
        ],
        "source": line.source,
        "unit": line.unit or currency,
        "events": line.events,
    }


def _usage(contracts: Sequence[Contract], as_of: datetime) -> list[dict[str, Any]]:
    """What each meter measured for each customer, by billing period (also of shadows) and by all its group keys."""
    first = Event.objects.aggregate(first=Min("time"))["first"]
    if first is None:
        return []
    periods = BillingPeriod.objects.filter(starting_at__lte=as_of, ending_before__gt=first).values_list(
        "contract__customer", "starting_at", "ending_before"
    )
    customers = {each.customer_id: each.customer.key for each in contracts}
    keys: dict[int, list[str]] = defaultdict(list)
    for customer, key in CustomerKey.objects.filter(customer__in=customers).values_list("customer", "key"):
        keys[customer].append(key)
    meters = list(Meter.objects.order_by("key"))
    asked = [
        (customer, meter, Period(start, end))
        for customer, start, end in sorted(set(periods), key=lambda one: (customers[one[0]], *one[1:]))
        for meter in meters
    ]
    requests = [
        UsageRequest(number, meter, tuple(sorted(keys[customer])), period, tuple(meter.group_by))
        for number, (customer, meter, period) in enumerate(asked)
    ]
    rows = []
    for found in quantities(requests):
        customer, meter, period = asked[found.key]
        rows.append(
            {
                "customer": customers[customer],
                "meter": meter.key,
                "period": _period(period.starting_at, period.ending_before),
                "group": dict(zip(meter.group_by, found.group, strict=True)),
                "quantity": quantity(found.quantity),
                "events": found.events,
            }
        )
    return sorted(rows, key=lambda row: (row["customer"], row["meter"]))
