"""The lines of an invoice as the books see them: when each is earned, and what a draw releases."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from catalog.money import ZERO, add, multiply
from invoicing.models import EarnedDays, Invoice, InvoiceLine
from invoicing.revenue import BilledLine, Part, by_days, by_time
from invoicing.usage_days import usage_by_day
from meters.periods import Period

EARLIER = "already_invoiced"


def label_of(owner: str, balance: str) -> str:
    """How postings name a commit: `contract:acme-2026/y1` or `customer:acme/pool`."""
    return f"{owner}/{balance}"


# When the lines of an invoice are earned, by their position.
Parts = Mapping[int, tuple[Part, ...]]


def billed_lines(
    invoice: Invoice,
    released: Mapping[int, Decimal],
    given: Sequence[InvoiceLine] | None = None,
    known: Parts | None = None,
) -> list[BilledLine]:
    """An invoice's lines in its currency: the saved ones unless others are given. `released` is by place among its
    draws; `known` is when the lines are earned, if it is not to be worked out. What an earlier invoice of the period
    billed is taken back line by line.
    """
    zone = invoice.contract.zone
    rows = list(invoice.lines.order_by("position")) if given is None else given
    weights = _parts_of_usage(invoice, rows, zone) if known is None else known
    draws = {draw["position"]: (place, draw) for place, draw in enumerate(invoice.draws)}
    lines: list[BilledLine] = []
    for row in rows:
        if row.kind == EARLIER:
            continue
        parts = weights.get(row.position) or by_time(Period(row.starting_at, row.ending_before), zone)
        product = row.tax_key if row.kind == "tax" else row.product
        line = BilledLine(row.kind, product, row.amount, parts, _label(invoice, row), position=row.position)
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
    positions = {row.source: row.position for row in rows}
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
            # From the days it was earned on when it was billed, whatever is known of them now.
            for line in billed_lines(earlier, {}, own, _as_earned(earlier)):
                position = positions.get(earlier.number or "", rows[0].position)
                yield replace(line, amount=multiply(line.amount, Decimal(count)), position=position)
    for row in rows:
        if row.source in times:
            yield BilledLine("usage", row.product, row.amount, (), position=row.position)


def _as_earned(invoice: Invoice) -> Parts:
    """When the lines of an issued invoice were earned."""
    found: dict[int, list[Part]] = defaultdict(list)
    accounts: dict[int, str] = {}
    rows = EarnedDays.objects.filter(entry__source__startswith=f"invoice:{invoice.pk}:earned:", position__gt=0)
    for row in rows.select_related("entry").order_by("entry__day", "pk"):
        position = row.position or 0
        if accounts.setdefault(position, row.account) == row.account:
            days = tuple((day, abs(amount)) for day, amount in row.days())
            found[position].append(Part(row.entry.day, add(weight for _, weight in days), days))
    return {position: tuple(parts) for position, parts in found.items()}


def _place(row: InvoiceLine) -> tuple[Any, ...]:
    return row.product, tuple(sorted(row.group.items())), row.starting_at, row.ending_before


def _parts_of_usage(invoice: Invoice, rows: Sequence[InvoiceLine], zone: ZoneInfo) -> Parts:
    """Usage lines, and what discounts and draws take off them, are earned in proportion to the usage of each day: an
    hour's tokens at the average price of their line, whatever tier they fell in.
    """
    used = usage_by_day(invoice, rows, zone)
    parts = {_place(row): by_days(used[row.position]) for row in rows if row.position in used}
    return {row.position: parts[place] for row in rows if (place := _place(row)) in parts}
