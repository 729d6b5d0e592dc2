"""What prices charge, worked out a second time in fractions and from the rules, to compare with `catalog.pricing`."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

Written = dict[str, Any]
NOTHING = Fraction(0)
MULTIPLIED = {"unit_amount", "flat_amount", "amount", "percent", "fixed_amount"}
MULTIPLIED |= {"minimum_per_event", "maximum_per_event"}


def number(written: Any) -> Fraction:
    return Fraction(0) if written is None else Fraction(str(written))


def half_up(amount: Fraction, places: int = 2) -> Fraction:
    units = abs(amount) * 10**places + Fraction(1, 2)
    return Fraction(floor(units), 10**places) * (1 if amount >= 0 else -1)


def open_end(tier: Written) -> bool:
    return tier.get("up_to") is None


def in_tier(tier: Written, units: Fraction) -> Fraction:
    """The charge of the units that fall into one tier."""
    flat = number(tier.get("flat_amount"))
    if "percent" in tier:
        return units * number(tier["percent"]) / 100 + flat
    if "size" in tier:
        return ceil(units / number(tier["size"])) * number(tier.get("unit_amount")) + flat
    return units * number(tier.get("unit_amount")) + flat


def per_unit(price: Written, units: Fraction, _: Sequence[Fraction]) -> Fraction:
    return max(units - number(price.get("free_units")), NOTHING) * number(price["unit_amount"])


def package(price: Written, units: Fraction, _: Sequence[Fraction]) -> Fraction:
    past_free = max(units - number(price.get("free_units")), NOTHING)
    return ceil(past_free / number(price["size"])) * number(price["amount"])


def dynamic(price: Written, units: Fraction, _: Sequence[Fraction]) -> Fraction:
    return units * number(price.get("multiplier", 1))


def volume(price: Written, units: Fraction, _: Sequence[Fraction]) -> Fraction:
    return next(in_tier(tier, units) for tier in price["tiers"] if open_end(tier) or units <= number(tier["up_to"]))


def graduated(price: Written, units: Fraction, _: Sequence[Fraction]) -> Fraction:
    amount = floor_of_tier = NOTHING
    for place, tier in enumerate(price["tiers"]):
        if place and units <= floor_of_tier:
            break
        top = units if open_end(tier) else min(units, number(tier["up_to"]))
        amount += in_tier(tier, top - floor_of_tier)
        floor_of_tier = top
    return amount


def percentage(price: Written, units: Fraction, events: Sequence[Fraction]) -> Fraction:
    share, fixed = number(price["percent"]) / 100, number(price.get("fixed_amount"))
    if not looks_at_events(price):
        return units * share + fixed * len(events)
    amount = seen = NOTHING
    for place, value in enumerate(events):
        left = free_left(price, place, seen)
        seen += value
        if left is None or (left > 0 and value <= left):
            continue
        one = (value - min(left, value)) * share + fixed
        if "minimum_per_event" in price:
            one = max(one, number(price["minimum_per_event"]))
        if "maximum_per_event" in price:
            one = min(one, number(price["maximum_per_event"]))
        amount += one
    return amount


def looks_at_events(price: Written) -> bool:
    names = ("free_events", "free_amount", "minimum_per_event", "maximum_per_event")
    return any(name in price for name in names)


def free_left(price: Written, place: int, seen: Fraction) -> Fraction | None:
    """How much of an event may be free, after events worth `seen`; None: all of it."""
    events, amount = price.get("free_events"), price.get("free_amount")
    if (events is None and amount is None) or (events is not None and place >= int(events)):
        return NOTHING
    return None if amount is None else max(number(amount) - seen, NOTHING)


TOTALS: dict[str, Callable[[Written, Fraction, Sequence[Fraction]], Fraction]] = {
    "per_unit": per_unit,
    "package": package,
    "dynamic": dynamic,
    "volume": volume,
    "graduated": graduated,
    "graduated_percentage": graduated,
    "percentage": percentage,
}


def total(price: Written, units: Fraction, events: Sequence[Fraction] = ()) -> Fraction:
    """The charge for everything since the start of the period. `shares` are the tiers of a tiered override."""
    units = max(units, NOTHING)
    if "shares" not in price:
        return TOTALS[price["model"]](price, units, events)
    inner = TOTALS[price["model"]]
    amount = below = NOTHING
    for place, share in enumerate(price["shares"]):
        top = units if open_end(share) else max(min(units, number(share["up_to"])), below)
        before = inner(price, below, events) if place else NOTHING
        amount += (inner(price, top, events) - before) * number(share["multiplier"])
        below = top
    return amount


def times(price: Written, multiplier: Fraction) -> Written:
    """The price with every amount in it multiplied."""

    def part(written: Written) -> Written:
        return {
            name: [part(tier) for tier in value]
            if name == "tiers"
            else number(value) * multiplier
            if name in MULTIPLIED
            else value
            for name, value in written.items()
        }

    changed = part(price)
    if price["model"] == "dynamic":
        changed["multiplier"] = number(price.get("multiplier", 1)) * multiplier
    return changed


def bought(price: Written, amount: Fraction, prior: Fraction, most: Fraction) -> Fraction | None:
    """The largest quantity after `prior` that costs no more than an amount; None where units have no price of their
    own.
    """
    if not plain(price):
        return None
    edges = [
        number(tier["up_to"]) for tier in (*price.get("tiers", ()), *price.get("shares", ())) if not open_end(tier)
    ]
    edges += [number(price.get("free_units")), prior + most]
    done = NOTHING
    for edge in sorted(edges):
        step = min(max(edge - prior - done, NOTHING), most - done)
        cost = total(price, prior + done + step) - total(price, prior + done)
        if cost > amount:
            return done + step * amount / cost
        done, amount = done + step, amount - cost
    return done


def plain(price: Written) -> bool:
    if price["model"] in ("package", "volume") or price.get("fixed_amount") or looks_at_events(price):
        return False
    return not any(number(tier.get("flat_amount")) or "size" in tier for tier in price.get("tiers", ()))


def converted(product: Written, units: Fraction) -> Fraction:
    """The quantity as it is priced: converted, then rounded."""
    conversion = product.get("conversion", {})
    units = units * number(conversion.get("multiply_by", 1)) / number(conversion.get("divide_by", 1))
    rounding = product.get("quantity_rounding")
    if rounding is None:
        return units
    scaled = units * 10 ** rounding["places"]
    whole = {"up": ceil(scaled), "down": floor(scaled), "half_up": floor(scaled + Fraction(1, 2))}[rounding["method"]]
    return Fraction(whole, 10 ** rounding["places"])
