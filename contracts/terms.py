"""Which price applies to a product, to a set of group values, at an instant, while somebody pays. Pure.

One override applies per line, never two: commit-specific overwrite, else commit-specific multiplier, else overwrite,
else multiplier.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from billing_project.decimals import plain
from catalog.group_values import Group, group_key
from catalog.prices import Price, Tiered, WrittenPrice, scaled
from contracts.deal import Multiplier, Override, Overwrite, TieredMultiplier
from contracts.products import ProductTerms
from contracts.scopes import covers, names_all
from meters.periods import Period, cut

__all__ = ["Agreed", "Payer", "ProductTerms", "Rate", "agreed_price", "effective_rate", "priced_by", "rate_slices"]


@dataclass(frozen=True, slots=True)
class Rate:
    """A price for a product and its pricing group values (`where`, as `group_key` writes them), while it lasts.

    `source` says where it was agreed, for people: `rate card list-2026`; `reference` finds the row: `rate:812`. `unit`
    names the custom pricing unit the price is in, empty for the contract's currency.
    """

    product: str
    where: str
    starting_at: datetime | None
    ending_before: datetime | None
    price: WrittenPrice
    source: str
    reference: str
    commit_price: WrittenPrice | None = None
    unit: str = ""

    def holds_at(self, instant: datetime) -> bool:
        return (self.starting_at is None or self.starting_at <= instant) and (
            self.ending_before is None or instant < self.ending_before
        )


class Payer(Struct, frozen=True, gc=False):
    """The commit that pays: its key, and whether the commit rate or the list rate applies while it does."""

    commit: str
    rate: str = "list"


class Agreed(Struct, frozen=True, gc=False):
    """The price that applies, the unit it is in, and where it was agreed, for people (`source`) and for programs."""

    price: Price
    unit: str
    source: str
    reference: str


def rate_slices(rates: Iterable[Rate], period: Period, instants: Iterable[datetime | None] = ()) -> list[Period]:
    """The period cut at every instant at which a rate of one product starts or ends, and at other `instants`."""
    edges = [instant for rate in rates for instant in (rate.starting_at, rate.ending_before)]
    return cut(period, [*edges, *instants])


def effective_rate(rates: Iterable[Rate], where: str, at: datetime) -> Rate | None:
    """The one rate for pricing group values (as `group_key` writes them) at an instant; None where nobody agreed a
    price.
    """
    for rate in rates:
        if rate.where == where and rate.holds_at(at):
            return rate
    return None


def priced_by(product: ProductTerms, group: Group) -> str:
    """The pricing group values of a group, as rates name them."""
    return group_key([(key, value) for key, value in group if key in product.pricing_keys]) if group else ""


def agreed_price(
    product: ProductTerms,
    group: Group,
    rate: Rate | None,
    at: datetime,
    overrides: Sequence[Override] = (),
    payer: Payer | None = None,
) -> Agreed | None:
    """The price after overrides: `rate` is the card's, None if it has none (an overwrite may still give one)."""
    if not overrides:
        return _base(rate, _target(rate, (), payer))
    meant = [
        (number, override)
        for number, override in enumerate(overrides)
        if override.holds_at(at) and _is_about(override, product, group)
    ]
    target = _target(rate, [override for _, override in meant], payer)
    applies = [
        (number, override)
        for number, override in meant
        if override.target == target and (not override.for_commits or (payer and payer.commit in override.for_commits))
    ]
    base = _base(rate, target)
    chosen = _chosen(applies)
    return base if chosen is None else _overridden(base, *chosen)


def while_paid(product: ProductTerms, group: Group, at: datetime, overrides: Sequence[Override]) -> tuple[int, ...]:
    """The overrides (their places) that change a price at an instant only while a commit pays."""
    return tuple(
        number
        for number, override in enumerate(overrides)
        if (override.for_commits or override.target == "commit")
        and override.holds_at(at)
        and _is_about(override, product, group)
    )


def _is_about(override: Override, product: ProductTerms, group: Group) -> bool:
    matches = names_all if isinstance(override, Overwrite) else covers
    return matches(override.scope, product, group)


def _target(rate: Rate | None, overrides: Iterable[Override], payer: Payer | None) -> str:
    """The commit rate applies while a commit that asks for it pays and there is one, on the card or by an overwrite."""
    if payer is None or payer.rate != "commit":
        return "list"
    agreed = any(isinstance(override, Overwrite) and override.target == "commit" for override in overrides)
    return "commit" if agreed or (rate is not None and rate.commit_price is not None) else "list"


def _base(rate: Rate | None, target: str) -> Agreed | None:
    if rate is None:
        return None
    if target == "commit" and rate.commit_price is not None:
        return Agreed(rate.commit_price, rate.unit, f"commit rate of {rate.source}", f"{rate.reference};commit")
    return Agreed(rate.price, rate.unit, rate.source, rate.reference)


def _chosen(applies: Sequence[tuple[int, Override]]) -> tuple[int, Override] | None:
    """The one override that applies, with its place in the contract; None when there is none."""
    for specific in (True, False):
        level = [(number, override) for number, override in applies if bool(override.for_commits) == specific]
        overwrites = [(number, override) for number, override in level if isinstance(override, Overwrite)]
        if overwrites:
            return overwrites[-1]
        multipliers = [(number, override) for number, override in level if not isinstance(override, Overwrite)]
        if multipliers:
            return min(multipliers, key=_precedence)
    return None


def _precedence(placed: tuple[int, Multiplier | TieredMultiplier]) -> tuple[bool, int, object, int]:
    """Explicit priorities first, the lowest number first; else the lowest multiplier. A tiered override counts with
    its first tier; of equals the last one added applies.
    """
    number, override = placed
    factor = override.tiers[0].multiplier if isinstance(override, TieredMultiplier) else override.multiplier
    return (override.priority is None, override.priority or 0, factor, -number)


def _overridden(base: Agreed | None, number: int, override: Override) -> Agreed | None:
    reference = f"override:{number}"
    if isinstance(override, Overwrite):
        return Agreed(override.price, override.unit, f"overwrite {number + 1} of the contract", reference)
    if base is None or isinstance(base.price, Tiered):
        return base
    price: Price
    if isinstance(override, Multiplier):
        price, factor = scaled(base.price, override.multiplier), plain(override.multiplier)
    else:
        price = Tiered(base.price, override.tiers)
        factor = "/".join(plain(tier.multiplier) for tier in override.tiers)
    source = f"{base.source} × {factor} (override {number + 1})"
    return Agreed(price, base.unit, source, f"{base.reference};{reference}")
