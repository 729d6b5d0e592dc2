"""Deferred revenue as bars that hang from where the last one ended, month after month. Whole pixels only. Pure."""

from dataclasses import dataclass
from decimal import Decimal

from catalog.money import add
from catalog.price_text import amount_text
from invoicing.waterfall import Moved, Waterfall

WIDTH, HEIGHT, MARGIN = 1000, 240, 4
# What moves, and its colour on light and dark alike; the end of the month stands last.
MOVES = (
    ("billed", "Billed", "#4f46e5"),
    ("credited", "Credited", "#dc2626"),
    ("recognised", "Recognised", "#059669"),
    ("expired", "Expired", "#ca8a04"),
)
END = ("end", "At the end of the month", "#64748b")


@dataclass(frozen=True, slots=True)
class Bar:
    x: int
    y: int
    width: int
    height: int
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`zero`: how far down nothing is. `links`: where a month ended and the next begins, as left, right and y."""

    bars: list[Bar]
    links: list[tuple[int, int, int]]
    zero: int
    largest: Decimal
    smallest: Decimal
    legend: list[tuple[str, str]]


def draw(waterfall: Waterfall) -> Chart:
    levels = [level for moved in waterfall.months for level in _levels(moved)]
    smallest, largest = min([Decimal(0), *levels]), max([Decimal(0), *levels])
    reach = (largest - smallest) or Decimal(1)

    def down(level: Decimal) -> int:
        return MARGIN + int((HEIGHT - 2 * MARGIN) * (largest - level) / reach)

    bars: list[Bar] = []
    links: list[tuple[int, int, int]] = []
    columns = len(waterfall.months) * (len(MOVES) + 2)  # one of them is the gap between months
    for number, moved in enumerate(waterfall.months):
        levels = _levels(moved)
        steps = [*zip(levels, levels[1:], MOVES, strict=False), (Decimal(0), moved.deferred_end, END)]
        for place, (before, after, (name, label, colour)) in enumerate(steps):
            if before == after:
                continue
            column = number * (len(MOVES) + 2) + place
            left, right = column * WIDTH // columns, (column + 1) * WIDTH // columns
            top, foot = down(max(before, after)), down(min(before, after))
            amount = moved.deferred_end if name == "end" else getattr(moved, name)
            title = f"{moved.month:%B %Y}, {label.lower()}: {amount_text(amount, waterfall.currency)}"
            bars.append(Bar(left, top, max(1, right - left - 1), max(1, foot - top), colour, title))
        ends = number * (len(MOVES) + 2) + len(MOVES)
        links.append((ends * WIDTH // columns, min((ends + 3) * WIDTH // columns, WIDTH), down(moved.deferred_end)))
    legend = [(label, colour) for _, label, colour in (*MOVES, END)]
    return Chart(bars, links, down(Decimal(0)), largest, smallest, legend)


def _levels(moved: Moved) -> list[Decimal]:
    """Where deferred revenue stood before the month, and after each of its moves."""
    levels = [moved.deferred_start]
    for name, _, _ in MOVES:
        levels.append(add([levels[-1], getattr(moved, name)]))
    return levels
