"""The lines of an invoice as the books see them: when each is earned, and what a draw releases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from catalog.money import ZERO, negate
from contracts.models import CustomerKey
from invoicing.models import Invoice, InvoiceLine
from invoicing.revenue import BilledLine, Part, by_time, last_day, months_of
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import Period

# Usage that adds up over time; anything else is earned evenly.
ADDING_UP = ("count", "sum")


def label_of(owner: str, balance: str) -> str:
    """How postings name a commit: `contract:acme-2026/y1` or `customer:acme/pool`."""
    return f"{owner}/{balance}"


def billed_lines(
    invoice: Invoice, released: Mapping[int, Decimal], unsaved: Sequence[InvoiceLine] | None = None
) -> list[BilledLine]:
    """An invoice's lines in its currency: the saved ones unless others are given. `released` is by place among its
    draws. What an earlier invoice of the period billed is taken back line by line.
    """
    zone = invoice.contract.zone
    rows = list(invoice.lines.order_by("position")) if unsaved is None else unsaved
    weights = _usage_by_month(invoice, rows, zone)
    draws = {draw["position"]: (place, draw) for place, draw in enumerate(invoice.draws)}
    lines: list[BilledLine] = []
    for row in rows:
        if row.kind == "already_invoiced":
            lines += _taken_back(row)
            continue
        parts = weights.get(_place(row)) or by_time(Period(row.starting_at, row.ending_before), zone)
        product = row.tax_key if row.kind == "tax" else row.product
        line = BilledLine(row.kind, product, row.amount, parts, _label(invoice, row))
        if row.kind == "draw" and row.position in draws:
            place, draw = draws[row.position]
            owner = draw.get("owner") or f"contract:{invoice.contract.key}"
            line = replace(line, released=released.get(place, ZERO), balance=label_of(owner, row.balance))
        # A line in a pricing unit comes in by its conversion; what was paid for before is money all the same.
        if row.unit:
            line = replace(line, amount=ZERO)
        if line.amount or line.released:
            lines.append(line)
    return lines


def _label(invoice: Invoice, row: InvoiceLine) -> str:
    if row.kind != "commit_purchase":
        return ""
    if row.rate.startswith("shared-commit:"):
        return label_of(f"customer:{_owner_of_shared(invoice, row.balance)}", row.balance)
    return label_of(f"contract:{invoice.contract.key}", row.balance)


def _owner_of_shared(invoice: Invoice, balance: str) -> str:
    customer = invoice.customer
    while customer.parent is not None and not _has_fund(customer.funds, balance):
        customer = customer.parent
    return customer.key


def _has_fund(funds: Any, balance: str) -> bool:
    return any(fund["key"] == balance for fund in (funds or {}).get("commits", ()))


def _taken_back(row: InvoiceLine) -> Iterable[BilledLine]:
    earlier = Invoice.objects.filter(number=row.source).first()
    if earlier is None:
        return [BilledLine("usage", row.product, row.amount, ())]
    return [
        replace(line, amount=negate(line.amount), released=negate(line.released)) for line in billed_lines(earlier, {})
    ]


def _place(row: InvoiceLine) -> tuple[Any, ...]:
    return row.product, tuple(sorted(row.group.items())), row.starting_at, row.ending_before


def _usage_by_month(
    invoice: Invoice, rows: Iterable[InvoiceLine], zone: ZoneInfo
) -> Mapping[tuple[Any, ...], tuple[Part, ...]]:
    """How usage lines that reach over several months are earned: in proportion to the usage of each."""
    asked: list[tuple[InvoiceLine, Period]] = []
    for row in rows:
        if row.kind == "usage" and row.aggregation in ADDING_UP:
            months = months_of(Period(row.starting_at, row.ending_before), zone)
            if len(months) > 1:
                asked += [(row, month) for month in months]
    if not asked:
        return {}
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={row.meter for row, _ in asked})}
    keys = tuple(CustomerKey.objects.filter(customer=invoice.customer_id).values_list("key", flat=True))
    where = tuple(sorted(invoice.contract.parsed_deal.usage_filter.items()))
    requests = [
        UsageRequest(number, meters[row.meter], keys, month, tuple(sorted(row.group)), where)
        for number, (row, month) in enumerate(asked)
        if row.meter in meters
    ]
    found: dict[tuple[Any, ...], list[Part]] = {}
    for each in quantities(requests):
        row, month = asked[each.key]
        if each.group == tuple(row.group[name] for name in sorted(row.group)) and each.quantity > 0:
            found.setdefault(_place(row), []).append(Part(last_day(month, zone), each.quantity))
    return {place: tuple(parts) for place, parts in found.items()}
