"""The rates of a card as a grid: what is priced down, the days on which prices change across. Pure.

A price holds from its column to the next one that has a price in its row; a gap that was there stays a gap.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Start = datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """A price and the span it holds; `id` is that of the rate it came from, none for a new one."""

    id: int | None
    starting_at: Start
    ending_before: Start
    price: Any


def columns_of(rates: Iterable[Held]) -> list[Start]:
    """The instants at which any price starts, in order; since ever comes first."""
    return sorted({rate.starting_at for rate in rates}, key=_order)


def planned(held: Sequence[Held], cells: Mapping[Start, Any]) -> list[Held]:
    """The rates of a row that has these prices, by when they start."""
    starts = sorted(cells, key=_order)
    known = {rate.starting_at: rate.id for rate in held}
    return [
        Held(known.get(start), start, _end(start, following, held), cells[start])
        for start, following in zip(starts, (*starts[1:], None), strict=False)
    ]


def price_at(rates: Iterable[Held], instant: datetime) -> Held | None:
    return next((rate for rate in rates if _covers(rate, instant)), None)


def column_text(start: Start) -> str:
    """2026-07-01, with the time (UTC) where it is not midnight; empty for since ever."""
    if start is None:
        return ""
    text = start.astimezone(UTC).replace(tzinfo=None).isoformat()
    return text.removesuffix("T00:00:00")


def read_column(text: str) -> Start:
    """Raises ValueError."""
    if not text:
        return None
    instant = datetime.fromisoformat(text)
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _order(start: Start) -> tuple[bool, datetime]:
    return start is not None, start or datetime.max.replace(tzinfo=UTC)


def _end(start: Start, following: Start, held: Sequence[Held]) -> Start:
    """The next price of the row, or the end of what was priced without a gap before."""
    covering = next((rate for rate in held if _covers(rate, start)), None)
    if covering is None:
        return following
    until = covering.ending_before
    for rate in sorted(held, key=lambda each: _order(each.starting_at)):
        if until is not None and rate.starting_at == until:
            until = rate.ending_before
    return min((edge for edge in (until, following) if edge is not None), default=None)


def _covers(rate: Held, instant: Start) -> bool:
    if instant is None:
        return rate.starting_at is None
    started = rate.starting_at is None or rate.starting_at <= instant
    return started and (rate.ending_before is None or instant < rate.ending_before)
