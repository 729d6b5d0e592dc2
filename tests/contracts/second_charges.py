"""What the second engine works on: a deal as it is written, funds, charges, and small sums over them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import floor

from tests.contracts.second_prices import NOTHING, Written, number, total

Use = tuple[str, datetime, str, dict[str, str]]
FAR = datetime.fromisoformat("9999-01-01T00:00:00+00:00")
PAST = datetime.fromisoformat("0002-01-01T00:00:00+00:00")
PAID_FIRST = ("usage", "minimum", "percent_of_spend")


@dataclass(slots=True)
class Deal:
    """What the statement is about: everything as it is written in a billing file."""

    start: datetime
    end: datetime
    places: int
    products: list[Written]
    rates: list[Written]
    terms: Written
    uses: list[Use]
    tax: Fraction = NOTHING


@dataclass(slots=True)
class Fund:
    written: Written
    window: Written
    credit: bool
    left: Fraction
    segment: int

    @property
    def postpaid(self) -> bool:
        return bool(self.written.get("kind") == "postpaid")


@dataclass(slots=True)
class Charge:
    """One line: `units` after `prior` ones at a price, `share` of it; `off` is what adjustments add."""

    kind: str
    product: Written
    group: dict[str, str]
    at: datetime
    price: Written | None
    prior: Fraction | None
    units: Fraction
    events: Sequence[Fraction] = ()
    earlier: Sequence[Fraction] = ()
    share: Fraction = Fraction(1)
    exact: Fraction = NOTHING
    amount: Fraction = NOTHING
    off: Fraction = NOTHING
    drawn: Fraction = NOTHING

    @property
    def net(self) -> Fraction:
        return self.amount + self.off

    def cost(self, price: Written, prior: Fraction | None, units: Fraction) -> Fraction:
        now = total(price, (prior or NOTHING) + units, [*self.earlier, *self.events])
        return now if prior is None else now - total(price, prior, self.earlier)


@dataclass(slots=True)
class Result:
    total: Fraction
    left: dict[tuple[str, int], Fraction]


def instant(written: str | None, none: datetime) -> datetime:
    return none if written is None else datetime.fromisoformat(written)


def holds(term: Written, at: datetime) -> bool:
    return instant(term.get("starting_at"), PAST) <= at < instant(term.get("ending_before"), FAR)


def about(scope: Written, product: Written, group: dict[str, str] | None = None) -> bool:
    """Whether a scope means a product and, where a group is given, its values."""
    products, tags = scope.get("products", ()), scope.get("tags", ())
    if (products or tags) and product["key"] not in products and not set(tags) & set(product.get("tags", ())):
        return False
    return group is None or scope.get("where", {}).items() <= group.items()


def edges(terms: Iterable[Written]) -> Iterator[datetime]:
    for term in terms:
        for name in ("starting_at", "ending_before"):
            if name in term:
                yield datetime.fromisoformat(term[name])


def aggregate(aggregation: str, values: Sequence[Fraction]) -> Fraction:
    how: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
        "sum": lambda found: sum(found, NOTHING),
        "count": lambda found: Fraction(len(found)),
        "max": lambda found: max(found, default=NOTHING),
        "unique_count": lambda found: Fraction(len(set(found))),
    }
    return how[aggregation](values)


def charges_each_event(price: Written) -> bool:
    return bool(number(price.get("fixed_amount")) or number(price.get("minimum_per_event")))


def charges_nothing_used(price: Written) -> bool:
    tiers = price.get("tiers")
    return bool(number(price.get("minimum")) or (tiers and number(tiers[0].get("flat_amount"))))


def unit_price(charge: Charge) -> Fraction:
    """What a unit costs as the line shows it: of a package, or past what is free; else the mean."""
    price = charge.price or {}
    shown = {"package": "amount", "per_unit": "unit_amount", "percentage": "percent"}.get(price.get("model", ""))
    if shown and charge.exact and not price.get("fixed_amount"):
        return number(price[shown]) / (100 if shown == "percent" else 1)
    return charge.exact / charge.units if charge.units else charge.exact


def parts(amount: Fraction, weights: Sequence[Fraction], places: int) -> list[Fraction]:
    """An amount split in proportion, by largest remainder."""
    if not amount:
        return [NOTHING] * len(weights)
    wanted = [abs(amount) * 10**places * weight / sum(weights) for weight in weights]
    units = [floor(share) for share in wanted]
    by_remainder = sorted(range(len(units)), key=lambda place: (units[place] - wanted[place], place))
    for place in by_remainder[: int(abs(amount) * 10**places) - sum(units)]:
        units[place] += 1
    return [Fraction(unit if amount > 0 else -unit, 10**places) for unit in units]
