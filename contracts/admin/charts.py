"""Usage as a chart: bars that stack where quantities add up, lines where they do not. Whole pixels only."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from contracts.usage_report import UsageRow
from meters.periods import Period
from meters.slices import ADDITIVE

HEIGHT = 220
WIDTH = 1000
MOST_SERIES = 7
COLOURS = ("#4f46e5", "#0891b2", "#059669", "#ca8a04", "#dc2626", "#9333ea", "#db2777", "#64748b")
OTHERS = "everything else"


@dataclass(frozen=True, slots=True)
class Bar:
    x: int
    y: int
    width: int
    height: int
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    points: str
    colour: str


@dataclass(frozen=True, slots=True)
class Chart:
    """`largest` stands at the top of the scale, the two labels at its ends."""

    bars: list[Bar]
    lines: list[Line]
    legend: list[tuple[str, str]]
    largest: Decimal


def draw(rows: Sequence[UsageRow], parts: Sequence[Period], aggregation: str, texts: dict[Period, str]) -> Chart:
    names = _series(rows)
    values: dict[str, dict[Period, Decimal]] = {name: {} for name in names}
    for row in rows:
        name = name_of(row)
        if name in names:
            values[name][row.period] = row.quantity
        elif OTHERS in names:
            values[OTHERS][row.period] = values[OTHERS].get(row.period, Decimal(0)) + row.quantity
    colours = dict(zip(names, COLOURS, strict=False))
    legend = [(name, colours[name]) for name in names] if len(names) > 1 else []
    if aggregation in ADDITIVE or len(names) == 1:
        bars, largest = _bars(values, parts, colours, texts)
        return Chart(bars, [], legend, largest)
    lines, largest = _lines(values, parts, colours)
    return Chart([], lines, legend, largest)


def name_of(row: UsageRow) -> str:
    return ", ".join("none" if value is None else value for value in row.group.values())


def _series(rows: Sequence[UsageRow]) -> list[str]:
    """The largest ones, in their order."""
    totals: dict[str, Decimal] = {}
    for row in rows:
        totals[name_of(row)] = totals.get(name_of(row), Decimal(0)) + row.quantity
    largest = sorted(totals, key=lambda name: -totals[name])
    return largest if len(largest) <= MOST_SERIES else [*largest[:MOST_SERIES], OTHERS]


def _bars(
    values: dict[str, dict[Period, Decimal]], parts: Sequence[Period], colours: dict[str, str], texts: dict[Period, str]
) -> tuple[list[Bar], Decimal]:
    sums = [
        sum((max(each.get(part, Decimal(0)), Decimal(0)) for each in values.values()), Decimal(0)) for part in parts
    ]
    largest = max(sums, default=Decimal(0)) or Decimal(1)
    bars = []
    for place, part in enumerate(parts):
        left, right = place * WIDTH // len(parts), (place + 1) * WIDTH // len(parts)
        gap = 2 if right - left > 6 else 0
        below = Decimal(0)
        for name, each in values.items():
            quantity = max(each.get(part, Decimal(0)), Decimal(0))
            if not quantity:
                continue
            bottom, top = (int(HEIGHT * at / largest) for at in (below, below + quantity))
            title = f"{texts[part]}{', ' if name else ''}{name}: {quantity:,f}"
            height = max(1, top - bottom)
            bars.append(Bar(left, HEIGHT - bottom - height, max(1, right - left - gap), height, colours[name], title))
            below += quantity
    return bars, largest


def _lines(
    values: dict[str, dict[Period, Decimal]], parts: Sequence[Period], colours: dict[str, str]
) -> tuple[list[Line], Decimal]:
    largest = max((quantity for each in values.values() for quantity in each.values()), default=Decimal(0))
    scale = largest if largest > 0 else Decimal(1)
    lines, nothing = [], Decimal(0)
    for name, each in values.items():
        points = [
            f"{(2 * place + 1) * WIDTH // (2 * len(parts))},{HEIGHT - int(HEIGHT * max(each[part], nothing) / scale)}"
            for place, part in enumerate(parts)
            if part in each
        ]
        lines.append(Line(" ".join(points), colours[name]))
    return lines, scale
