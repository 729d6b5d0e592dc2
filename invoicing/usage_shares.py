"""Which line of an invoice an event belongs to, where several lines bill the same usage. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TypeVar

from catalog.money import ZERO, subtract

E = TypeVar("E")


def shared_out(
    events: Iterable[tuple[E, Decimal]], lines: Sequence[tuple[int, Decimal]]
) -> Iterator[tuple[int, E | None, Decimal]]:
    """Events, in order, given to lines by position and quantity: the first line takes what it holds, an event on the
    boundary is split. What events and lines differ by comes last, without an event: so every line adds up exactly.
    """
    left = [quantity for _, quantity in lines]
    place, last = 0, len(lines) - 1
    for event, value in events:
        rest = value
        while place < last and rest > left[place]:
            if left[place]:
                yield lines[place][0], event, left[place]
            rest = subtract(rest, left[place])
            left[place] = ZERO
            place += 1
        if rest or not value:
            yield lines[place][0], event, rest
            left[place] = subtract(left[place], rest)
    for (position, _), missing in zip(lines, left, strict=True):
        if missing:
            yield position, None, missing
