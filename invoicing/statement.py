"""The whole calculation: terms and usage in, lines and totals out. The only place that turns usage into lines.

Pure. Close, live draft, preview, thresholds, simulation and audit all call `build_statement`; what they show differs
only in the inputs. The order is that of the rules: charges at their effective rate, discounts, bounds of each line,
credits and commits, minimums and true-ups, tax, what was invoiced already.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from msgspec import Struct, field

from contracts.balances import POSTPAID, Balance, BalanceId
from contracts.bounds import apply_bounds
from contracts.deal import NOTHING_AGREED, Deal, Discount, Overwrite
from contracts.discounts import apply_discounts
from contracts.drawdown import Draw, Purse, draw_line, pay
from contracts.lines import Line, Payable, shown
from contracts.minimums import minimum_lines, true_up_lines
from contracts.products import ProductTerms
from contracts.proration import Calendar
from contracts.rating import Rating, SliceUsage, Spans, Unrated, rate_usage
from contracts.scheduled import Due
from contracts.scopes import covers, covers_product
from contracts.shared_terms import SharedCommit
from contracts.spend_share import Spend, spend_shares
from contracts.subscription_lines import Fees, arrears_fees
from contracts.terms import Rate
from contracts.units import UnitRate, conversion_product, conversions
from invoicing.taxation import Tax, TaxRules, TaxTotal, taxed
from invoicing.totals import Earlier, already_invoiced_lines, totals
from meters.periods import Period, cut

__all__ = ["Line", "SliceUsage", "Statement", "StatementInputs", "Unrated", "build_scheduled", "build_statement"]


MOST = Decimal("1e24")  # of a line: a thousand of them still fit into a total


class StatementInputs(Struct, frozen=True, gc=False):
    """Everything a statement depends on. `rates` by product key; a group has the product's `group_by` keys, in that
    order; usage is cut at every instant of `slice_instants`.

    `balances` know what was drawn from them before this statement; `shared_commits` are those this contract
    bills. `calendar` is needed for recurring fees only.
    `added` are lines written by hand, which no balance pays, and corrections of earlier invoices; tax is due on them.
    `tax` holds for every line; without it the `tax_rates` of the customer's place do, of which there should be one for
    every line when `tax_expected`.
    `spans` is shared by statements whose prices hold at the same times: what one works out the next need not.
    """

    contract: str
    customer: str
    currency: str
    period: Period
    products: tuple[ProductTerms, ...]
    rates: Mapping[str, Sequence[Rate]]
    usage: tuple[SliceUsage, ...]
    deal: Deal = NOTHING_AGREED
    calendar: Calendar | None = None
    balances: tuple[Balance, ...] = ()
    units: Mapping[str, Sequence[UnitRate]] = field(default_factory=dict)
    tax: Tax | None = None
    tax_rates: tuple[Tax, ...] = ()
    tax_expected: bool = False
    earlier: tuple[Earlier, ...] = ()
    added: tuple[Line, ...] = ()
    shared_commits: tuple[SharedCommit, ...] = ()
    spans: Spans = field(default_factory=dict)


class PostedDraw(Struct, frozen=True, gc=False):
    """What issuing the statement takes from a balance; `position` (from 1) is the line that says so."""

    balance: str
    segment: str
    kind: str
    amount: Decimal
    position: int
    owner: str = ""

    @property
    def id(self) -> BalanceId:
        return self.owner, self.balance, self.segment


class Statement(Struct, frozen=True, gc=False):
    """Lines in the order they are shown, usage without a price, totals of the rounded lines, and draws to post."""

    contract: str
    customer: str
    currency: str
    period: Period
    lines: tuple[Line, ...]
    unrated: tuple[Unrated, ...]
    subtotal: Decimal
    total: Decimal
    kind: str = "usage"
    discount: Decimal = Decimal(0)
    credits_applied: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    already_invoiced: Decimal = Decimal(0)
    draws: tuple[PostedDraw, ...] = ()
    taxes: tuple[TaxTotal, ...] = ()
    untaxed: bool = False


def build_statement(inputs: StatementInputs) -> Statement:
    """Work out every line and total of one contract's billing period."""
    charges, unrated = _usage_charges(inputs)
    if inputs.deal.subscriptions:
        recurring, lost = arrears_fees(fees_of(inputs), inputs.period)
        charges, unrated = charges + recurring, unrated + lost
    return _settled("usage", inputs, charges, unrated)


def build_threshold(inputs: StatementInputs) -> Statement:
    """The statement of what has accrued so far in a billing period, billed at once when spend reached its threshold:
    minimums and true-ups wait for the end of the period.
    """
    return _settled("threshold", inputs, *_usage_charges(inputs))


def build_scheduled(inputs: StatementInputs, due: Due) -> Statement:
    """The statement of the fees due at one instant; `inputs.period` is the span they are for."""
    return _settled("scheduled", inputs, due.charges, due.unrated)


def slice_instants(inputs: StatementInputs, product: ProductTerms) -> list[datetime]:
    """Every instant at which usage of a product must be cut: a rate, override, commit, credit, discount or pricing unit
    starts or ends.
    """
    rates = inputs.rates.get(product.key, ())
    overrides = [each for each in inputs.deal.overrides if covers_product(each.scope, product)]
    return sorted({*_edges((*rates, *overrides)), *_windows(inputs, product)})


def fees_of(inputs: StatementInputs) -> Fees:
    """What recurring and scheduled fees depend on."""
    if inputs.calendar is None:
        raise ValueError("recurring fees need the contract's calendar")
    products = {product.key: product for product in inputs.products}
    return Fees(inputs.deal, inputs.calendar, inputs.currency, products, inputs.rates, inputs.shared_commits)


def _usage_charges(inputs: StatementInputs) -> tuple[list[Payable], list[Unrated]]:
    rating = Rating(
        inputs.currency,
        inputs.period,
        inputs.rates,
        inputs.deal.overrides,
        lambda product: _windows(inputs, product),
        inputs.spans,
    )
    products = sorted(inputs.products, key=lambda product: (product.name, product.key))
    return rate_usage(rating, products, inputs.usage)


def _settled(kind: str, inputs: StatementInputs, charges: Sequence[Payable], unrated: Sequence[Unrated]) -> Statement:
    """From charges to a statement."""
    deal, currency, period = inputs.deal, inputs.currency, inputs.period
    purse = Purse(inputs.balances, period.starting_at, currency)
    # An amount off is given once, with the usage.
    discounts = [each for each in deal.discounts if each.percent is not None or kind != "scheduled"]
    held, lost = _held(charges)
    lost += unrated
    adjusted = _adjusted(held, discounts, inputs)
    adjusted = _due_now(kind, adjusted)
    paid, draws = pay(adjusted, purse)
    # Fees due at an instant may be in a pricing unit; shares of spend are of usage.
    for later in (_conversions,) if kind == "scheduled" else (_shares_of_spend, _conversions):
        found, without_price = later(inputs, paid, draws)
        more, too_large = _held(found)
        more_paid, more_draws = pay(_due_now(kind, more), purse)
        paid, draws, lost = paid + more_paid, draws + more_draws, lost + without_price + too_large
    # Late usage is paid by what is left now, and counts toward no minimum of this period.
    corrections, more_draws = pay(_payable_corrections(inputs), purse)
    draws = draws + more_draws
    lines = [*shown(paid), *shown(corrections)]
    first_draw = len(lines)
    names = {balance.id: balance.name for balance in inputs.balances}
    shown_draws = [draw for draw in draws if draw.kind != POSTPAID]
    lines += [draw_line(draw, names[draw.id]) for draw in shown_draws]
    if kind == "usage":
        lines += minimum_lines(deal.minimums, Spend(period, paid, inputs.units), currency)
        lines += true_up_lines(purse, period, currency, inputs.contract)
    lines += [line for line in inputs.added if not _is_payable(line, inputs)]
    categories = {product.key: product.tax_category for product in inputs.products}
    rules = TaxRules(inputs.tax, inputs.tax_rates, inputs.tax_expected)
    tax = taxed(lines, rules, categories, period, currency)
    complete = [*tax.lines, *tax.tax_lines, *already_invoiced_lines(inputs.earlier, period)]
    sums = totals(complete)
    return Statement(
        contract=inputs.contract,
        customer=inputs.customer,
        currency=currency,
        period=period,
        lines=tuple(complete),
        unrated=tuple(lost),
        subtotal=sums.subtotal,
        total=sums.total,
        kind=kind,
        discount=sums.discount,
        credits_applied=sums.credits_applied,
        tax=sums.tax,
        already_invoiced=sums.already_invoiced,
        draws=tuple(_posted(draws, lines, first_draw)),
        taxes=tax.totals,
        untaxed=tax.untaxed,
    )


def _held(charges: Iterable[Payable]) -> tuple[list[Payable], list[Unrated]]:
    """The charges an invoice can hold. One event with a mistaken exponent must not stop the close of all others: what
    comes to more is listed like usage without a price, and nobody can approve it.
    """
    held: list[Payable] = []
    too_large: list[Unrated] = []
    for payable in charges:
        line = payable.line
        if -MOST < line.amount < MOST:
            held.append(payable)
        else:
            too_large.append(Unrated(line.product, line.group, line.period, line.quantity))
    return held, too_large


def _is_payable(line: Line, inputs: StatementInputs) -> bool:
    return line.kind == "correction" and line.amount > 0 and any(each.key == line.product for each in inputs.products)


def _payable_corrections(inputs: StatementInputs) -> list[Payable]:
    products = {product.key: product for product in inputs.products}
    return [Payable(line, products[line.product]) for line in inputs.added if _is_payable(line, inputs)]


def _due_now(kind: str, charges: list[Payable]) -> list[Payable]:
    """Minimums wait for the end of the period."""
    if kind != "threshold":
        return charges
    return [payable for payable in charges if payable.line.kind != "minimum"]


def _adjusted(charges: Sequence[Payable], discounts: Sequence[Discount], inputs: StatementInputs) -> list[Payable]:
    return apply_bounds(apply_discounts(charges, discounts, inputs.currency, inputs.units), inputs.currency)


def _shares_of_spend(
    inputs: StatementInputs, paid: Sequence[Payable], _: Sequence[Draw]
) -> tuple[list[Payable], list[Unrated]]:
    spend = Spend(inputs.period, paid, inputs.units)
    charges, lost = spend_shares(inputs.products, inputs.rates, inputs.deal.overrides, spend, inputs.currency)
    # An amount off is given once, on the charges it was split over before.
    percentages = [each for each in inputs.deal.discounts if each.percent is not None]
    return _adjusted(charges, percentages, inputs), lost


def _conversions(
    inputs: StatementInputs, paid: Sequence[Payable], draws: Sequence[Draw]
) -> tuple[list[Payable], list[Unrated]]:
    drawn = [draw_line(draw, draw.balance) for draw in draws if draw.line.unit and draw.kind != POSTPAID]
    return conversions(paid, drawn, inputs.units, _conversion_slices(inputs), inputs.currency)


def _conversion_slices(inputs: StatementInputs) -> list[Period]:
    """The period cut where a balance in the currency that may pay for conversions starts or ends."""
    products = [conversion_product(unit) for unit in inputs.units]
    payers = [each for each in inputs.balances if not each.unit and any(covers(each.scope, it, ()) for it in products)]
    return cut(inputs.period, _edges(payers))


def _posted(draws: Iterable[Draw], lines: Sequence[Line], first_draw: int) -> Iterator[PostedDraw]:
    """Draws with the position of their line: the draw's own, or the covered line of a postpaid commit."""
    positions = {id(line): position for position, line in enumerate(lines, start=1)}
    own = first_draw
    for draw in draws:
        if draw.kind == POSTPAID:
            position = positions[id(draw.line)]
        else:
            own += 1
            position = own
        yield PostedDraw(draw.balance, draw.segment, draw.kind, draw.amount, position, draw.owner)


def _windows(inputs: StatementInputs, product: ProductTerms) -> list[datetime]:
    """Where in the period a balance or a discount of a product starts or ends, its pricing unit's rate changes, or that
    of a share of its spend.
    """
    terms: list[Dated] = [each for each in inputs.balances if covers_product(each.scope, product)]
    terms += [each for each in inputs.deal.discounts if covers_product(each.scope, product)]
    if inputs.units and _may_be_in_units(inputs, product):
        terms += [rate for unit in inputs.units.values() for rate in unit]
    for share in _shares_of(inputs):
        if covers_product(share.of, product):
            terms += inputs.rates.get(share.key, ())
            terms += [each for each in inputs.deal.overrides if covers_product(each.scope, share)]
    start, end = inputs.period.starting_at, inputs.period.ending_before
    return sorted({edge for edge in _edges(terms) if start < edge < end})


def _may_be_in_units(inputs: StatementInputs, product: ProductTerms) -> bool:
    return any(rate.unit for rate in inputs.rates.get(product.key, ())) or any(
        isinstance(each, Overwrite) and each.unit for each in inputs.deal.overrides
    )


def _shares_of(inputs: StatementInputs) -> list[ProductTerms]:
    return [product for product in inputs.products if product.kind == "percent_of_spend"]


class Dated(Protocol):
    """Anything with a first instant and a first instant after it."""

    @property
    def starting_at(self) -> datetime | None: ...
    @property
    def ending_before(self) -> datetime | None: ...


def _edges(terms: Iterable[Dated]) -> Iterator[datetime]:
    for each in terms:
        for edge in (each.starting_at, each.ending_before):
            if edge is not None:
                yield edge
