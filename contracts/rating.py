"""From usage to charges: the price that applies in each slice, times what was used in it. Pure."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from operator import attrgetter

from msgspec import Struct

from catalog.group_values import Group, group_key, parse_group, parse_key
from catalog.money import ZERO, add, divide, multiply, plus, subtract
from catalog.prices import Flat, charges_without_value
from catalog.pricing import NO_EVENTS, Charge, Conversion, Events, charges_without_usage
from contracts.deal import Override, Overwrite
from contracts.lines import Line, Payable, Pricing, rounded
from contracts.products import ProductTerms
from contracts.scopes import covers_product
from contracts.terms import Agreed, Rate, agreed_price, effective_rate, priced_by, while_paid
from meters.periods import Period, cut
from meters.slices import increments


class SliceUsage(Struct, frozen=True, gc=False):
    """What a meter measured for one product, group and slice of the billing period (see `meters.slices`).

    `values` are those of its events in order of time, where the price looks at each event.
    """

    product: str
    slice: Period
    group: Group
    quantity: Decimal
    events: int
    values: tuple[Decimal, ...] = ()


class Unrated(Struct, frozen=True, gc=False):
    """Usage nobody agreed a price for: never dropped, an invoice that has any cannot be approved."""

    product: str
    group: Group
    period: Period
    quantity: Decimal


class Span(Struct, frozen=True, gc=False):
    """A part of the period in which the terms of one group stay the same, whoever pays."""

    period: Period
    rate: Rate | None
    agreed: Agreed | None


Spans = dict[tuple[str, Group], list[Span]]


@dataclass(frozen=True, slots=True)
class Rating:
    """What rating needs to know beside the usage. `windows` tells the instants at which a balance or a discount of a
    product starts or ends: slices on either side stay apart, for what is open to one may not be open to the other.

    `spans` are kept as they are worked out, by product and group; ratings that differ in nothing may share them.
    """

    currency: str
    period: Period
    rates: Mapping[str, Sequence[Rate]]
    overrides: tuple[Override, ...] = ()
    windows: Callable[[ProductTerms], Collection[datetime]] = lambda _: ()
    spans: Spans = field(default_factory=dict)


class _Part(Struct, frozen=True, gc=False):
    """What one group used while one price held."""

    period: Period
    quantity: Decimal
    events: Events
    rate: Rate | None
    agreed: Agreed | None


def rate_usage(
    rating: Rating, products: Iterable[ProductTerms], usage: Iterable[SliceUsage]
) -> tuple[list[Payable], list[Unrated]]:
    """Every usage charge of a billing period, and the usage that has no price."""
    by_product: dict[str, dict[Group, list[SliceUsage]]] = {}
    for row in usage:
        by_product.setdefault(row.product, {}).setdefault(row.group, []).append(row)
    charges: list[Payable] = []
    unrated: list[Unrated] = []
    for product in products:
        used = set()
        # In order of their values, not of their rows: the odd cent of a discount falls on the same line every time.
        for group, rows in sorted(by_product.get(product.key, {}).items(), key=lambda one: group_key(one[0])):
            parts = [part for part in _parts(rating, product, group, rows) if _is_charged(part)]
            if parts:
                used.add(priced_by(product, group))
                charges += _charges(rating, product, group, parts)
                unrated += [
                    Unrated(product.key, group, part.period, part.quantity) for part in parts if not part.agreed
                ]
        if product.kind == "usage":
            charges += _fees_without_usage(rating, product, used)
    return charges, unrated


def _slices(rating: Rating, product: ProductTerms) -> list[Period]:
    """The period cut where anything about a product starts or ends."""
    dated = [*rating.rates.get(product.key, ()), *(o for o in rating.overrides if covers_product(o.scope, product))]
    edges = [edge for each in dated for edge in (each.starting_at, each.ending_before)]
    return cut(rating.period, [*edges, *rating.windows(product)])


def _spans(rating: Rating, product: ProductTerms, group: Group) -> list[Span]:
    """The spans of one group: slices that follow each other under the same terms are one."""
    where = priced_by(product, group)
    rates = rating.rates.get(product.key, ())
    slices = _slices(rating, product)
    edges = rating.windows(product) if len(slices) > 1 else ()

    def terms(part: Period) -> tuple[Rate | None, Agreed | None, tuple[int, ...], int]:
        at = part.starting_at
        rate = effective_rate(rates, where, at)
        agreed = agreed_price(product, group, rate, at, rating.overrides)
        # What only holds while a commit pays does not show in the price agreed: who pays is not known yet.
        paid = while_paid(product, group, at, rating.overrides)
        return rate, agreed, paid, sum(edge <= at for edge in edges)

    spans = []
    for (rate, agreed, _, _), run in groupby(slices, key=terms):
        parts = list(run)
        spans.append(Span(Period(parts[0].starting_at, parts[-1].ending_before), rate, agreed))
    return spans


def _parts(rating: Rating, product: ProductTerms, group: Group, rows: Sequence[SliceUsage]) -> list[_Part]:
    """The usage of one group, span by span."""
    rows = sorted(rows, key=_slice)
    amounts = increments(product.aggregation, [(row.quantity, row.events) for row in rows])
    place = product.key, group
    if place not in rating.spans:
        rating.spans[place] = _spans(rating, product, group)
    spans = rating.spans[place]
    used: dict[int, _Part] = {}
    for row, (quantity, events) in zip(rows, amounts, strict=True):
        number = max(bisect_right(spans, row.slice.starting_at, key=_starting_at) - 1, 0)
        span, before = spans[number], used.get(number)
        part = _Part(span.period, quantity, Events(events, row.values), span.rate, span.agreed)
        used[number] = part if before is None else _joined([before, part])
    parts = list(used.values())
    return _one_fee(rating, product, group, parts) if any(_is_flat(part.agreed) for part in parts) else parts


_slice, _starting_at = attrgetter("slice"), attrgetter("period.starting_at")


def _is_flat(agreed: Agreed | None) -> bool:
    return agreed is not None and isinstance(agreed.price, Flat)


def _one_fee(rating: Rating, product: ProductTerms, group: Group, parts: Sequence[_Part]) -> list[_Part]:
    """A flat price is a recurring fee: one rate for the whole billing period, the first that holds in it."""
    for where, rate, held in _held(rating, product):
        if where == priced_by(product, group):
            agreed = agreed_price(product, group, rate, held.starting_at, rating.overrides)
            if not _is_flat(agreed):
                break
            whole = _joined(parts)
            return [_Part(_to_the_end(rating, held), whole.quantity, whole.events, rate, agreed)]
    return list(parts)


def _to_the_end(rating: Rating, held: Period) -> Period:
    return Period(held.starting_at, rating.period.ending_before)


def _is_charged(part: _Part) -> bool:
    """Events of no quantity cost nothing, unless each event has a fee or a least amount."""
    return bool(part.quantity or (part.events.count and part.agreed and charges_without_value(part.agreed.price)))


def _joined(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(
        period=Period(parts[0].period.starting_at, parts[-1].period.ending_before),
        quantity=add(part.quantity for part in parts),
        events=sum((part.events for part in parts), NO_EVENTS),
        rate=parts[0].rate,
        agreed=parts[0].agreed,
    )


def _charges(rating: Rating, product: ProductTerms, group: Group, parts: Sequence[_Part]) -> Iterator[Payable]:
    metered = billed = ZERO
    earlier = NO_EVENTS
    for index, part in enumerate(parts):
        # The running quantity is converted and rounded, so that a period cut in two rounds no more often than a whole
        # one.
        metered = plus(metered, part.quantity)
        before, billed = billed, product.conversion.convert(metered)
        events = _converted(part.events, product.conversion)
        if part.agreed is not None:
            prior = before if index else None
            pricing = Pricing(
                product=product,
                group=group,
                rate=part.rate,
                overrides=rating.overrides,
                agreed=part.agreed,
                prior=prior,
                quantity=subtract(billed, before),
                events=events,
                prior_events=earlier,
            )
            yield usage_charge(rating.currency, pricing, part.period, part.quantity, part.events.count)
        earlier += events


def _converted(events: Events, conversion: Conversion) -> Events:
    """Event values in the unit that is priced; rounding is for quantities, not for single events."""
    if not events.values:
        return events
    factor, by = conversion.multiply_by, conversion.divide_by
    return Events(events.count, tuple(divide(multiply(value, factor), by) for value in events.values))


def usage_charge(currency: str, pricing: Pricing, period: Period, quantity: Decimal, events: int) -> Payable:
    """The charge for a quantity as it is priced."""
    return Payable(
        priced_line(currency, "usage", pricing, pricing.charged(), period, quantity, events), pricing.product, pricing
    )


def priced_line(
    currency: str, kind: str, pricing: Pricing, charged: Charge, period: Period, quantity: Decimal, events: int = 0
) -> Line:
    product, agreed = pricing.product, pricing.agreed
    return Line(
        kind=kind,
        product=product.key,
        name=product.name,
        group=pricing.group,
        period=period,
        meter=product.meter,
        aggregation=product.aggregation,
        events=events,
        quantity=quantity,
        billed_quantity=pricing.quantity,
        prior_quantity=pricing.prior,
        unit_amount=charged.unit_amount,
        amount=rounded(charged.amount, currency, agreed.unit),
        amount_exact=charged.amount,
        tiers=charged.tiers,
        source=agreed.source,
        rate=agreed.reference,
        price=agreed.price,
        unit=agreed.unit,
    )


def _fees_without_usage(rating: Rating, product: ProductTerms, used: Collection[str]) -> Iterator[Payable]:
    """Prices with a flat fee in their first tier, or a minimum, are due once a period even if nothing was used."""
    last: dict[str, tuple[Rate | None, Agreed, Period]] = {}
    for where, rate, held in _held(rating, product, used):
        agreed = agreed_price(product, parse_key(where), rate, held.starting_at, rating.overrides)
        if agreed is None or not charges_without_usage(agreed.price):
            continue
        if _is_flat(agreed):
            last.setdefault(where, (rate, agreed, _to_the_end(rating, held)))
        elif where not in last or not _is_flat(last[where][1]):
            last[where] = (rate, agreed, held)
    for where, (rate, agreed, held) in sorted(last.items(), key=lambda one: one[0]):
        pricing = Pricing(product, parse_key(where), rate, rating.overrides, agreed, None, ZERO)
        yield usage_charge(rating.currency, pricing, held, ZERO, 0)


def _held(
    rating: Rating, product: ProductTerms, used: Collection[str] = ()
) -> Iterator[tuple[str, Rate | None, Period]]:
    """What gives a price to group values that were not `used`, in order of time, and where in the period it holds: the
    card's rates, and overwrites of what the card has no rate for.
    """
    rates = rating.rates.get(product.key, ())
    unused = [rate for rate in rates if rate.where not in used]
    for rate in sorted(unused, key=lambda rate: rate.starting_at or rating.period.starting_at):
        held = rating.period.overlap(rate.starting_at, rate.ending_before)
        if held is not None:
            yield rate.where, rate, held
    on_card = {rate.where for rate in rates}
    for override in rating.overrides:
        held = rating.period.overlap(override.starting_at, override.ending_before)
        if isinstance(override, Overwrite) and held is not None and covers_product(override.scope, product):
            where = group_key(parse_group(override.scope.where).items())
            if where not in on_card and where not in used:
                yield where, None, held


def by_group(charges: Iterable[Payable]) -> dict[tuple[str, str], list[Payable]]:
    """Charges of the same product and group together, in order of time."""
    groups: dict[tuple[str, str], list[Payable]] = defaultdict(list)
    for payable in charges:
        groups[payable.line.product, group_key(payable.line.group)].append(payable)
    return {place: sorted(group, key=lambda payable: payable.line.period) for place, group in groups.items()}
