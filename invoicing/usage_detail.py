"""The usage behind an invoice, event by event, as CSV: for every usage line the quantities add up to the line's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from billing_project.api_csv import csv_lines
from billing_project.decimals import plain
from catalog.written import written_instant
from contracts.models import CustomerKey
from invoicing.models import Invoice, InvoiceLine
from invoicing.usage_shares import shared_out
from meters.aggregation import UsageRequest
from meters.archived import check_reach
from meters.event_stream import events_in_order
from meters.events_behind import MeasuredEvent
from meters.models import Meter
from meters.periods import Period
from meters.slices import ADDITIVE, measured_periods

HEADER = (
    *("line", "product", "name", "group", "meter", "time", "customer", "event_type", "event", "value", "quantity"),
    "note",
)
LATER = "Differs since: arrived after the invoice was approved, see late usage"


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines that bill one slice of usage."""

    lines: Sequence[InvoiceLine]
    request: UsageRequest
    group: tuple[str | None, ...]

    @property
    def adds_up(self) -> bool:
        return self.request.meter.aggregation in ADDITIVE


def usage_detail(invoice: Invoice) -> Iterator[str]:
    """The lines of the CSV. Raises RuleError before the first one when events it needs are archived."""
    blocks = list(_blocks(invoice))
    check_reach([block.request for block in blocks], every_event=True)
    return csv_lines(HEADER, (row for block in blocks for row in _rows(block)))


def _rows(block: _Block) -> Iterator[tuple[str, ...]]:
    events = events_in_order(block.request, block.group)
    by_position = {line.position: line for line in block.lines}
    quantities = [(line.position, line.quantity) for line in block.lines]
    if block.adds_up:
        for position, event, quantity in shared_out(((each, each.value) for each in events), quantities):
            yield _row(by_position[position], block, event, quantity, "" if event else LATER)
        return
    # A largest value, an average: no sum of events. They are listed, and the line's quantity stands below.
    count = 0
    for event in events:
        count += 1
        yield _row(block.lines[0], block, event, None, "")
    for line in block.lines:
        words = block.request.meter.aggregation.replace("_", " ")
        yield _row(line, block, None, line.quantity, f"{words} of {count} events")


def _row(
    line: InvoiceLine, block: _Block, event: MeasuredEvent | None, quantity: Decimal | None, note: str
) -> tuple[str, ...]:
    group = "; ".join(f"{name}={value}" for name, value in line.group.items() if value is not None)
    about = (str(line.position), line.product, line.name, group, line.meter)
    of_event = ("", "", "", "", "")
    if event is not None:
        of_event = (written_instant(event.time) or "", event.customer, event.type, event.key.hex, plain(event.value))
    return tuple(map(_safe, (*about, *of_event, "" if quantity is None else plain(quantity), note)))


def _safe(cell: str) -> str:
    """Spreadsheets compute what begins like a formula; names are other people's text."""
    return f"'{cell}" if cell.startswith(("=", "+", "@", "\t", "\r")) else cell


def _blocks(invoice: Invoice) -> Iterator[_Block]:
    rows = invoice.lines.filter(kind="usage").exclude(meter="").order_by("product", "starting_at", "group", "position")
    lines = [row for row in rows if row.quantity or row.events]
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={line.meter for line in lines})}
    deal = invoice.contract.parsed_deal
    named = [invoice.contract.customer.key, *deal.usage_customers]
    keys = tuple(sorted(CustomerKey.objects.filter(customer__key__in=named).values_list("key", flat=True)))
    where = tuple(sorted(deal.usage_filter.items()))
    found = [(place, list(part)) for place, part in groupby(lines, key=_place)]
    for _, part in sorted(found, key=lambda one: one[1][0].position):
        first = part[0]
        meter = meters[first.meter]
        slice_ = Period(first.starting_at, first.ending_before)
        _, measured = measured_periods(meter.aggregation, _slices(invoice, meter, slice_))[-1]
        request = UsageRequest(first.position, meter, keys, measured, tuple(first.group), where)
        yield _Block(sorted(part, key=lambda line: line.position), request, tuple(first.group.values()))


def _slices(invoice: Invoice, meter: Meter, own: Period) -> list[Period]:
    """What does not add up runs from the start of the billing period."""
    if meter.aggregation in ADDITIVE or own.starting_at <= invoice.starting_at:
        return [own]
    return [Period(invoice.starting_at, own.starting_at), own]


def _place(line: InvoiceLine) -> tuple[Any, ...]:
    return line.product, line.starting_at, line.ending_before, tuple(line.group.items())
