"""The lines of an invoice as the books see them: when each is earned, and what a draw releases."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from catalog.money import ZERO, multiply
from contracts.models import CustomerKey
from invoicing.models import Invoice, InvoiceLine
from invoicing.revenue import BilledLine, Part, by_time, last_day, months_of
from meters.aggregation import UsageRequest, quantities
from meters.models import Meter
from meters.periods import Period

# Usage that adds up over time; anything else is earned evenly.
ADDING_UP = ("count", "sum")
EARLIER = "already_invoiced"


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
        if row.kind == EARLIER:
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
    return [*lines, *_taken_back([row for row in rows if row.kind == EARLIER])]


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


def _taken_back(rows: Sequence[InvoiceLine]) -> Iterable[BilledLine]:
    """What earlier invoices of the period billed, line by line. Each of them took back those before it: how often the
    lines of one count is worked out first, and those that cancel out are not read.
    """
    if not rows:
        return
    times: dict[str, int] = defaultdict(int)
    for row in rows:
        times[row.source] -= 1
    periods = Invoice.objects.filter(number__in=list(times)).values("period")
    sources: dict[int, list[str]] = defaultdict(list)
    taken = InvoiceLine.objects.filter(kind=EARLIER, invoice__period__in=periods, invoice__kind=Invoice.Kind.THRESHOLD)
    for invoice, source in taken.values_list("invoice", "source"):
        sources[invoice].append(source)
    thresholds = Invoice.objects.filter(period__in=periods, kind=Invoice.Kind.THRESHOLD, number__isnull=False)
    for earlier in thresholds.select_related("contract__customer").order_by("-pk"):
        count = times.pop(earlier.number or "", 0)
        if count:
            for source in sources[earlier.pk]:
                times[source] -= count
            own = [line for line in earlier.lines.order_by("position") if line.kind != EARLIER]
            for line in billed_lines(earlier, {}, own):
                yield replace(line, amount=multiply(line.amount, Decimal(count)))
    for row in rows:
        if row.source in times:
            yield BilledLine("usage", row.product, row.amount, ())


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
