"""How the usage behind lines is spread over the local days of their slices."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from catalog.money import ZERO
from contracts.models import CustomerKey
from invoicing.models import Invoice, InvoiceLine
from invoicing.revenue import days_of
from meters.aggregation import UsageRequest, quantities
from meters.archived import ArchivedError
from meters.models import Meter
from meters.periods import Period
from meters.slices import ADDITIVE

Days = Sequence[tuple[date, Decimal]]


class _Asked(NamedTuple):
    """What lines that differ in their groups alone share."""

    meter: str
    names: tuple[str, ...]
    slice: Period


def usage_by_day(invoice: Invoice, rows: Iterable[InvoiceLine], zone: ZoneInfo) -> dict[int, Days]:
    """For usage lines (by position) that add up over time: the usage of every day of their slice, in order; never below
    zero. By one statement. Left out is what has one day alone, what has no usage any more, and what lies in archives.
    """
    asked: dict[_Asked, list[InvoiceLine]] = defaultdict(list)
    for row in rows:
        if row.kind == "usage" and row.aggregation in ADDITIVE:
            asked[_Asked(row.meter, tuple(sorted(row.group)), Period(row.starting_at, row.ending_before))].append(row)
    days = {each: found for each in asked if len(found := days_of(each.slice, zone)) > 1}
    used = _read(invoice, days)
    spread: dict[int, Days] = {}
    for each, by_group in used.items():
        for row in asked[each]:
            of_group = by_group.get(tuple(row.group[name] for name in each.names))
            if of_group:
                spread[row.position] = [(day, of_group.get(day, ZERO)) for day, _ in days[each]]
    return spread


def _read(
    invoice: Invoice, days: dict[_Asked, list[tuple[date, Period]]]
) -> dict[_Asked, dict[tuple[str | None, ...], dict[date, Decimal]]]:
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={each.meter for each in days})} if days else {}
    wanted = [(each, day, part) for each, parts in days.items() if each.meter in meters for day, part in parts]
    if not wanted:
        return {}
    deal = invoice.contract.parsed_deal
    named = [invoice.contract.customer.key, *deal.usage_customers]
    keys = tuple(sorted(CustomerKey.objects.filter(customer__key__in=named).values_list("key", flat=True)))
    where = tuple(sorted(deal.usage_filter.items()))
    requests = [
        UsageRequest(number, meters[each.meter], keys, part, each.names, where)
        for number, (each, _, part) in enumerate(wanted)
    ]
    found: dict[_Asked, dict[tuple[str | None, ...], dict[date, Decimal]]] = defaultdict(lambda: defaultdict(dict))
    try:
        measured = quantities(requests)
    except ArchivedError:
        # Midnights between whole hours need events. What is billed late is then earned evenly over its days.
        return {}
    for one in measured:
        each, day, _ = wanted[one.key]
        if one.quantity > 0:
            found[each][one.group][day] = one.quantity
    return found
