"""What of a contract starts and ends when, as bars on a scale of time. Pure; whole pixels only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.deal import Deal
from contracts.period_text import instant_text
from contracts.proration import Calendar
from meters.periods import CALENDAR_ANCHOR, boundaries

WIDTH = 400
LEFT = 130
ROW = 22
TOP = 20
OPEN_SHOWN = timedelta(days=180)
MOST_ROWS = 60
STEPS = (("day", 1), ("week", 7), ("month", 31), ("quarter", 92), ("year", 366))
COLOURS = {
    "contract": "#64748b",
    "price": "#4f46e5",
    "discount": "#9333ea",
    "commit": "#059669",
    "credit": "#0891b2",
    "seats": "#ca8a04",
    "charge": "#dc2626",
    "minimum": "#db2777",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A term and when it holds; none is without bound. `marks` are instants on it."""

    label: str
    kind: str
    starting_at: datetime | None
    ending_before: datetime | None
    marks: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    title: str
    colour: str
    y: int
    x: int
    width: int
    marks: tuple[int, ...]
    open_end: bool


@dataclass(frozen=True, slots=True)
class Timeline:
    bars: list[Bar]
    ticks: list[tuple[int, str]]
    now: int | None
    width: int
    height: int
    hidden: int


def timeline(deal: Deal, calendar: Calendar, now: datetime) -> Timeline:
    """The contract and the terms that are dated otherwise than itself."""
    every = [Span("Contract", "contract", calendar.starting_at, calendar.ending_before), *spans_of(deal)]
    shown = every[:MOST_ROWS]
    first, last = _bounds(shown, now)
    bars = [_bar(span, row, first, last, calendar) for row, span in enumerate(shown)]
    return Timeline(
        bars=bars,
        ticks=_ticks(first, last, calendar),
        now=_x(now, first, last) if first <= now <= last else None,
        width=WIDTH,
        height=TOP + len(bars) * ROW + 4,
        hidden=len(every) - len(shown),
    )


def spans_of(deal: Deal) -> Iterator[Span]:
    """Every dated term of a deal, in the order of the screen."""
    for override in deal.overrides:
        named = ", ".join((*override.scope.products, *override.scope.tags)) or "everything"
        yield Span(f"Price of {named}", "price", override.starting_at, override.ending_before)
    for discount in deal.discounts:
        name = discount.name or (f"{discount.percent}% off" if discount.percent is not None else "Amount off")
        yield Span(name, "discount", discount.starting_at, discount.ending_before)
    for commit in deal.commits:
        bills = tuple(bill.at for bill in commit.invoices)
        for number, access in enumerate(commit.access):
            span = Span(commit.name or commit.key, "commit", access.starting_at, access.ending_before)
            yield replace(span, marks=bills) if not number else span
    for credit in deal.credits:
        for access in credit.access:
            yield Span(credit.name or credit.key, "credit", access.starting_at, access.ending_before)
    for kind, rows in (("commit", deal.recurring_commits), ("credit", deal.recurring_credits)):
        for each in rows:
            yield Span(f"{each.name or each.key}, recurring", kind, each.starting_at, each.ending_before)
    yield from _fees(deal)


def _fees(deal: Deal) -> Iterator[Span]:
    for seats in deal.subscriptions:
        changes = tuple(change.at for change in seats.changes)
        yield Span(f"{seats.key}, seats", "seats", seats.starting_at, seats.ending_before, changes)
    for charge in deal.charges:
        end = charge.ending_before if charge.every else charge.at + timedelta(days=1)
        yield Span(charge.key, "charge", charge.at, end, (charge.at,))
    for minimum in deal.minimums:
        yield Span("Minimum", "minimum", minimum.starting_at, minimum.ending_before)


def _bounds(spans: Sequence[Span], now: datetime) -> tuple[datetime, datetime]:
    """From the first to the last instant named; what is open runs on for half a year."""
    edges = [edge for span in spans for edge in (span.starting_at, span.ending_before, *span.marks) if edge]
    first, last = min(edges), max(edges)
    if any(span.ending_before is None for span in spans[:1]):
        last = max(last, now) + OPEN_SHOWN
    return first, max(last, first + timedelta(days=1))


def _x(instant: datetime, first: datetime, last: datetime) -> int:
    inside = min(max(instant, first), last) - first
    return LEFT + (WIDTH - LEFT) * int(inside.total_seconds()) // int((last - first).total_seconds())


def _bar(span: Span, row: int, first: datetime, last: datetime, calendar: Calendar) -> Bar:
    starts = span.starting_at or calendar.starting_at
    ends = span.ending_before or calendar.ending_before
    x = _x(starts, first, last)
    until = f"until before {instant_text(ends, calendar.zone)}" if ends else "without end"
    return Bar(
        label=span.label,
        title=f"{span.label}: from {instant_text(starts, calendar.zone)} {until}",
        colour=COLOURS[span.kind],
        y=TOP + row * ROW,
        x=x,
        width=max(_x(ends or last, first, last) - x, 3),
        marks=tuple(_x(mark, first, last) for mark in span.marks),
        open_end=ends is None,
    )


def _ticks(first: datetime, last: datetime, calendar: Calendar) -> list[tuple[int, str]]:
    """Some four instants on the scale, at starts of months or years."""
    every = next(each for each, days in STEPS if (last - first) < timedelta(days=days * 4) or each == "year")
    step = 1 + (last - first) // timedelta(days=365 * 4)
    marked: list[tuple[int, str]] = []
    for instant in boundaries(every, CALENDAR_ANCHOR, calendar.zone, first - timedelta(microseconds=1)):
        if instant >= last:
            break
        local = instant.astimezone(calendar.zone)
        if every != "year" or local.year % step == 0:
            marked.append((_x(instant, first, last), f"{local:%Y}" if every == "year" else f"{local:%-d %b %y}"))
    return marked
