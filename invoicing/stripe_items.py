"""An invoice's lines as Stripe's: whole minor units, no more lines and no larger amounts than Stripe takes. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from catalog.money import add, divide, minor_unit, multiply

# https://docs.stripe.com/api/invoiceitems/create: items of an invoice, and digits of an amount.
MOST_ITEMS = 250
LARGEST = 99_999_999
LONGEST = 500
# Stripe counts these in hundredths although they have none, and the thousandths of these only by tens.
COUNTED_IN_HUNDREDTHS = {"ISK", "UGX"}
THREE_PLACES = Decimal("0.001")
# Lines of their own whatever happens: what the customer's own books need to see.
NEVER_GROUPED = {"tax", "already_invoiced"}


@dataclass(frozen=True, slots=True)
class Charged:
    """A line of the invoice in its currency; `words` is what the customer reads, quantity and rate included."""

    product: str
    kind: str
    words: str
    amount: Decimal
    starting_at: datetime
    ending_before: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """An item for Stripe: `amount` in minor units as Stripe counts them; `position` names it from 1."""

    position: int
    words: str
    amount: int
    starting_at: datetime
    ending_before: datetime


def to_minor(amount: Decimal, currency: str) -> int:
    """The amount as Stripe counts it. Raises ValueError for one that Stripe cannot take."""
    unit = Decimal("0.01") if currency in COUNTED_IN_HUNDREDTHS else minor_unit(currency)
    units = divide(amount, unit)
    if units != units.to_integral_value():
        raise ValueError(f"{amount} {currency} is not in whole minor units")
    whole = int(units)
    if (currency in COUNTED_IN_HUNDREDTHS and whole % 100) or (unit == THREE_PLACES and whole % 10):
        raise ValueError(f"Stripe takes no {amount} {currency}: its amounts are rounded further")
    return whole


def from_minor(units: int, currency: str) -> Decimal:
    """Stripe's number as an amount of the currency."""
    unit = Decimal("0.01") if currency in COUNTED_IN_HUNDREDTHS else minor_unit(currency)
    return multiply(Decimal(units), unit)


def items(lines: Sequence[Charged], currency: str, most: int = MOST_ITEMS) -> list[Item]:
    """The items of an invoice; they add up to its lines. Beyond `most` the smallest are grouped by product.

    An amount larger than Stripe takes becomes several items.
    """
    room = most
    while True:
        made = [part for line in _within(lines, room) for part in _parts(line, currency)]
        if len(made) <= most or room <= 1:
            return [
                Item(position, words, units, line.starting_at, line.ending_before)
                for position, (line, words, units) in enumerate(made, start=1)
            ]
        room = max(1, room - (len(made) - most))


def _within(lines: Sequence[Charged], most: int) -> list[Charged]:
    """The lines as they are, or with the fewest of the smallest ones grouped."""
    if len(lines) <= most:
        return list(lines)
    smallest = sorted(
        (index for index, line in enumerate(lines) if line.kind not in NEVER_GROUPED),
        key=lambda index: (abs(lines[index].amount), -index),
    )
    products: set[str] = set()
    for count, index in enumerate(smallest, start=1):
        products.add(lines[index].product)
        if len(lines) - count + len(products) <= most:
            return _grouped(lines, set(smallest[:count]), by_product=True)
    return _grouped(lines, set(smallest), by_product=False)


def _grouped(lines: Sequence[Charged], chosen: set[int], *, by_product: bool) -> list[Charged]:
    groups: dict[str, list[Charged]] = {}
    kept = []
    for index, line in enumerate(lines):
        if index in chosen:
            groups.setdefault(line.product if by_product else "", []).append(line)
        else:
            kept.append(line)
    tail = [line for line in kept if line.kind in NEVER_GROUPED]
    return [
        *(line for line in kept if line.kind not in NEVER_GROUPED),
        *(_one(product, group) for product, group in groups.items()),
        *tail,
    ]


def _one(product: str, group: list[Charged]) -> Charged:
    if len(group) == 1:
        return group[0]
    return replace(
        group[0],
        words=f"{product or 'Other charges'}: {len(group)} smaller lines, one by one on the invoice",
        amount=add(line.amount for line in group),
        starting_at=min(line.starting_at for line in group),
        ending_before=max(line.ending_before for line in group),
    )


def _parts(line: Charged, currency: str) -> Iterable[tuple[Charged, str, int]]:
    units = to_minor(line.amount, currency)
    sign = -1 if units < 0 else 1
    # A part of a currency counted in steps must be whole steps itself.
    most = LARGEST - LARGEST % 100 if currency in COUNTED_IN_HUNDREDTHS else LARGEST - LARGEST % 10
    whole, rest = divmod(abs(units), most)
    amounts = [most] * whole + ([rest] if rest or not whole else [])
    for number, amount in enumerate(amounts, start=1):
        words = line.words[:LONGEST] if len(amounts) == 1 else f"{line.words[:460]} (part {number} of {len(amounts)})"
        yield line, words, sign * amount


def total(made: Iterable[Item]) -> int:
    return sum(item.amount for item in made)
