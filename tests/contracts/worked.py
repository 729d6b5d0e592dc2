"""Writing worked examples short: products and prices, a deal, dated usage; what comes out as a table."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from catalog.group_values import Group, group_key
from catalog.price_format import parse_price
from contracts.balances import Balance, Posted, balances_of
from contracts.deal_format import parse_deal
from contracts.products import ProductTerms
from contracts.proration import Calendar
from contracts.rating import SliceUsage
from contracts.scheduled import scheduled_fees
from contracts.terms import Rate, rate_slices
from invoicing.statement import (
    Statement,
    StatementInputs,
    build_scheduled,
    build_statement,
    fees_of,
    slice_instants,
)
from meters.periods import Period
from meters.slices import measured_periods

D = Decimal
ZONE = ZoneInfo("UTC")


def day(number: int, month: int = 1, year: int = 2026) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


JANUARY = Period(day(1), day(1, 2))
FEBRUARY = Period(day(1, 2), day(1, 3))

# A use: product, the instant, the quantity, and the group's values.
Use = tuple[str, datetime, str] | tuple[str, datetime, str, Mapping[str, str]]


def unit(amount: str, **more: Any) -> dict[str, Any]:
    return {"model": "per_unit", "unit_amount": amount, **more}


def rate(product: str, price: Mapping[str, Any], **terms: Any) -> Rate:
    commit = terms.get("commit_price")
    return Rate(
        product=product,
        where=group_key(terms.get("where", {})),
        starting_at=terms.get("starting_at"),
        ending_before=terms.get("ending_before"),
        price=parse_price(price),
        source="list",
        reference=f"rate:{product}",
        commit_price=parse_price(commit) if commit else None,
        unit=terms.get("unit", ""),
    )


def inputs(
    rates: Sequence[Rate] | Mapping[str, Mapping[str, Any]],
    deal: Mapping[str, Any] | None = None,
    *uses: Use,
    period: Period = JANUARY,
    products: Sequence[ProductTerms] = (),
    drawn: Mapping[tuple[str, str], Decimal] | None = None,
    calendar: Calendar | None = None,
    shared: Sequence[Balance] = (),
    **more: Any,
) -> StatementInputs:
    """The inputs of a statement. `rates` may be a price per product; products not described are sums of one meter."""
    if isinstance(rates, Mapping):
        rates = [rate(product, price) for product, price in rates.items()]
    known = {product.key: product for product in products}
    for each in rates:
        known.setdefault(each.product, ProductTerms(each.product, each.product, each.product, "sum"))
    agreed = parse_deal(deal or {}, ZONE)
    calendar = calendar or Calendar(ZONE, day(1))
    currency = more.pop("currency", "USD")
    posted = Posted({("", *place): amount for place, amount in (drawn or {}).items()})
    made = StatementInputs(
        contract="c1",
        customer="acme",
        currency=currency,
        period=period,
        products=tuple(known.values()),
        rates={key: [each for each in rates if each.product == key] for key in known},
        usage=(),
        deal=agreed,
        calendar=calendar,
        balances=(*balances_of(agreed, calendar, currency, period.ending_before, posted), *shared),
        **more,
    )
    return replace(made, usage=tuple(sliced(made, uses)))


def sliced(made: StatementInputs, uses: Sequence[Use]) -> list[SliceUsage]:
    """What meters would measure in each slice of the period."""
    rows: list[SliceUsage] = []
    for product in made.products:
        slices = rate_slices(made.rates[product.key], made.period, slice_instants(made, product))
        groups: dict[Group, list[Use]] = defaultdict(list)
        for use in uses:
            if use[0] == product.key:
                values = use[3] if len(use) == 4 else {}
                groups[tuple((key, values.get(key)) for key in product.group_by)].append(use)
        for group, mine in groups.items():
            for part, over in measured_periods(product.aggregation, slices):
                inside = [D(use[2]) for use in sorted(mine, key=lambda use: use[1]) if use[1] in over]
                if inside:
                    quantity = measured(product.aggregation, inside)
                    rows.append(SliceUsage(product.key, part, group, quantity, len(inside), tuple(inside)))
    return rows


def measured(aggregation: str, values: Sequence[Decimal]) -> Decimal:
    if aggregation == "max":
        return max(values)
    if aggregation == "latest":
        return values[-1]
    if aggregation == "unique_count":
        return D(len(set(values)))
    return sum(values, D(0)) if aggregation == "sum" else D(len(values))


def bill(*args: Any, **terms: Any) -> Statement:
    """The usage statement."""
    return build_statement(inputs(*args, **terms))


def schedule(
    made: StatementInputs, after: datetime | None = None, until: datetime | None = None
) -> list[tuple[datetime, Statement]]:
    """The scheduled statements due up to an instant."""
    due = scheduled_fees(fees_of(made), after, until or made.period.ending_before)
    return [(at, build_scheduled(replace(made, period=fees.period), fees)) for at, fees in due.items()]


def table(statement: Statement) -> list[str]:
    """A statement as finance would read it, one line of text per line: kind, product, quantity, amount, balance."""
    return [
        " ".join(
            filter(
                None,
                [
                    line.kind,
                    line.product,
                    f"{line.period.starting_at:%d.%m}-{line.period.ending_before:%d.%m}",
                    f"{line.billed_quantity.quantize(D('0.01')):f}" if line.billed_quantity else "",
                    f"{line.amount:f}" if not line.unit else f"{line.amount.normalize():f} {line.unit}",
                    f"[{line.balance}]" if line.balance else "",
                ],
            )
        )
        for line in statement.lines
    ]
