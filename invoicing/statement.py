"""The whole calculation: terms and usage in, lines and totals out. The only place that turns usage into lines.

Pure. Close, live draft, demo and audit all call `build_statement`; what they show differs only in the inputs.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby

from catalog.group_values import Group, group_key, parse_key
from catalog.money import ZERO, add, round_amount, subtract
from catalog.pricing import TierCharge, charge, charges_without_usage
from contracts.terms import ProductTerms, Rate, effective_rate
from meters.periods import Period
from meters.slices import increments


@dataclass(frozen=True, slots=True)
class SliceUsage:
    """What a meter measured for one product, group and slice of the billing period (see `meters.slices`)."""

    product: str
    slice: Period
    group: Group
    quantity: Decimal
    events: int


@dataclass(frozen=True, slots=True)
class StatementInputs:
    """Everything a statement depends on. `rates` by product key; a group has the product's `group_by` keys, in that
    order.
    """

    contract: str
    customer: str
    currency: str
    period: Period
    products: tuple[ProductTerms, ...]
    rates: Mapping[str, Sequence[Rate]]
    usage: tuple[SliceUsage, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `quantity` as metered, `billed_quantity` after conversion, `amount` rounded to the cent,
    `amount_exact` not.

    `prior_quantity` is the billed quantity of the same product and group earlier in the period, None on its first
    line: tiers carry on from it.
    `rate` names the row the price came from; `source` says the same for people.
    """

    kind: str
    product: str
    name: str
    group: Group
    period: Period
    meter: str
    aggregation: str
    events: int
    quantity: Decimal
    billed_quantity: Decimal
    prior_quantity: Decimal | None
    unit_amount: Decimal | None
    amount: Decimal
    amount_exact: Decimal
    tiers: tuple[TierCharge, ...]
    source: str
    rate: str


@dataclass(frozen=True, slots=True)
class Unrated:
    """Usage nobody agreed a price for: never dropped, an invoice that has any cannot be approved."""

    product: str
    group: Group
    period: Period
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines in the order they are shown, usage without a price, and totals of the rounded lines."""

    contract: str
    customer: str
    currency: str
    period: Period
    lines: tuple[Line, ...]
    unrated: tuple[Unrated, ...]
    subtotal: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class _Part:
    """What one group used while one rate held."""

    period: Period
    quantity: Decimal
    events: int
    rate: Rate | None


def build_statement(inputs: StatementInputs) -> Statement:
    """Work out every line and total of one contract's billing period."""
    usage: dict[str, dict[Group, list[SliceUsage]]] = defaultdict(lambda: defaultdict(list))
    for row in inputs.usage:
        usage[row.product][row.group].append(row)
    lines: list[Line] = []
    unrated: list[Unrated] = []
    for product in sorted(inputs.products, key=lambda product: (product.name, product.key)):
        rates = inputs.rates.get(product.key, ())
        used = set()
        for group, rows in sorted(usage[product.key].items(), key=lambda item: group_key(item[0])):
            parts = [part for part in _parts(product, rates, group, rows) if part.quantity]
            used |= {_priced_by(product, group)} if parts else set()
            lines += _usage_lines(inputs.currency, product, group, parts)
            unrated += [Unrated(product.key, group, part.period, part.quantity) for part in parts if part.rate is None]
        lines += _fees_without_usage(inputs, product, rates, used)
    subtotal = add(line.amount for line in lines)
    return Statement(
        contract=inputs.contract,
        customer=inputs.customer,
        currency=inputs.currency,
        period=inputs.period,
        lines=tuple(lines),
        unrated=tuple(unrated),
        subtotal=subtotal,
        total=subtotal,
    )


def _parts(product: ProductTerms, rates: Sequence[Rate], group: Group, rows: Sequence[SliceUsage]) -> list[_Part]:
    """The usage of one group, slice by slice; slices that follow each other under the same rate are one part."""
    rows = sorted(rows, key=lambda row: row.slice)
    where = _priced_by(product, group)
    amounts = increments(product.aggregation, [(row.quantity, row.events) for row in rows])
    parts = [
        _Part(row.slice, quantity, events, effective_rate(rates, where, row.slice.starting_at))
        for row, (quantity, events) in zip(rows, amounts, strict=True)
    ]
    return [_joined(list(run)) for _, run in groupby(parts, key=lambda part: part.rate)]


def _joined(parts: Sequence[_Part]) -> _Part:
    return _Part(
        period=Period(parts[0].period.starting_at, parts[-1].period.ending_before),
        quantity=add(part.quantity for part in parts),
        events=sum(part.events for part in parts),
        rate=parts[0].rate,
    )


def _usage_lines(currency: str, product: ProductTerms, group: Group, parts: Sequence[_Part]) -> Iterator[Line]:
    metered = billed = ZERO
    for index, part in enumerate(parts):
        # The running quantity is converted and rounded, so that a period cut in two rounds no more often than a whole
        # one.
        metered = add([metered, part.quantity])
        before, billed = billed, product.conversion.convert(metered)
        if part.rate is not None:
            prior = before if index else None
            yield _line(currency, product, group, part, subtract(billed, before), prior, part.rate)


def _line(
    currency: str, product: ProductTerms, group: Group, part: _Part, billed: Decimal, prior: Decimal | None, rate: Rate
) -> Line:
    charged = charge(rate.price, billed, prior)
    return Line(
        kind="usage",
        product=product.key,
        name=product.name,
        group=group,
        period=part.period,
        meter=product.meter,
        aggregation=product.aggregation,
        events=part.events,
        quantity=part.quantity,
        billed_quantity=billed,
        prior_quantity=prior,
        unit_amount=charged.unit_amount,
        amount=round_amount(charged.amount, currency),
        amount_exact=charged.amount,
        tiers=charged.tiers,
        source=rate.source,
        rate=rate.reference,
    )


def _fees_without_usage(
    inputs: StatementInputs, product: ProductTerms, rates: Sequence[Rate], used: Collection[str]
) -> Iterator[Line]:
    """Prices with a flat fee in their first tier are due once a period even if nothing was used."""
    last_rates: dict[str, tuple[Rate, Period]] = {}
    for rate in sorted(rates, key=lambda rate: rate.starting_at or inputs.period.starting_at):
        held = inputs.period.overlap(rate.starting_at, rate.ending_before)
        if held and rate.where not in used and charges_without_usage(rate.price):
            last_rates[rate.where] = (rate, held)
    for where, (rate, held) in sorted(last_rates.items()):
        yield _line(inputs.currency, product, parse_key(where), _Part(held, ZERO, 0, rate), ZERO, None, rate)


def _priced_by(product: ProductTerms, group: Group) -> str:
    """The pricing group values of a group, as rates name them."""
    return group_key((key, value) for key, value in group if key in product.pricing_keys)
