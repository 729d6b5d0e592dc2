"""Gathering what statements depend on: a fixed number of queries for any number of contracts and periods."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from msgspec import Struct, field
from msgspec.structs import replace

from billing_project.prepared import ask, ids
from catalog.money import ZERO, add
from catalog.prices import Price, looks_at_each_event
from contracts.as_known import contracts_as_known
from contracts.balances import Balance, BalanceId
from contracts.catalog_terms import CardRates, terms_as_known, terms_of_cards, units_of
from contracts.deal import Deal, Overwrite, Scope
from contracts.models import BillingPeriod, Contract
from contracts.open_balances import OpenBalances
from contracts.products import ProductTerms
from contracts.rating import Spans
from contracts.scopes import covers_product
from contracts.subscription_lines import Fees
from contracts.terms import Rate
from invoicing.statement import SliceUsage, StatementInputs, slice_instants
from invoicing.tax_terms import TaxTerms
from invoicing.totals import Earlier
from meters.aggregation import Quantity, UsageRequest, quantities
from meters.event_values import event_values
from meters.models import Meter
from meters.periods import Period, cut
from meters.slices import accrued_part, measured_periods

KEYS = """
SELECT u.key, k.key FROM contracts_customerkey AS k JOIN contracts_customer AS u ON u.id = k.customer_id
WHERE k.customer_id = ANY(%s::bigint[])
"""
KEYS_OF_NAMED = """
SELECT u.key, k.key FROM contracts_customerkey AS k JOIN contracts_customer AS u ON u.id = k.customer_id
WHERE u.key = ANY(%s::text[])
"""
THRESHOLD_INVOICES = """
SELECT period_id, number, id, total FROM invoicing_invoice
WHERE period_id = ANY(%s::bigint[]) AND kind = 'threshold' AND status <> 'void' ORDER BY scheduled_at
"""


class Terms:
    """The terms of contracts, read once. Expects `customer` and `rate_card` selected along with each contract.

    `drawn_before`: of what issued invoices drew, only that counts which they drew for periods before it. `rates` stand
    in for those of the cards (by id). `known_at`: everything as it was known at that instant.
    """

    def __init__(
        self,
        contracts: Iterable[Contract],
        drawn_before: datetime | None = None,
        rates: Mapping[int, CardRates] | None = None,
        known_at: datetime | None = None,
    ) -> None:
        self.known_at = known_at
        if known_at is not None:
            contracts = contracts_as_known(contracts, known_at)
        self._contracts = {contract.pk: contract for contract in contracts}
        cards = {contract.rate_card_id: contract.rate_card for contract in self._contracts.values()}
        asked = [*cards] if rates is None else []
        catalog = terms_of_cards(asked) if known_at is None else terms_as_known(asked, known_at)
        self._rates = catalog.rates if rates is None else rates
        self._units = {pk: units_of(card) for pk, card in cards.items()}
        self._rows, self._products = catalog.products.rows, catalog.products.terms
        self._deals = {pk: contract.parsed_deal for pk, contract in self._contracts.items()}
        self._agreed = self._agreements()
        self._taxes = TaxTerms(catalog.tax_rates)
        self._keys = _customer_keys(self._contracts.values(), self._deals)
        self.balances = OpenBalances(self._contracts.values(), self._deals, drawn_before, known_at)

    def inputs(self, contract: Contract, period: Period) -> StatementInputs:
        """Everything but the usage. Tax is that of whom the invoice is addressed to."""
        contract = self._contracts[contract.pk]
        agreed = self._agreed[contract.pk]
        tax = self._taxes.rules(self.balances.payer(contract) or contract.customer)
        balances = tuple(self.balances.of(contract, period.ending_before))
        return StatementInputs(
            contract=contract.key,
            customer=contract.customer.key,
            currency=contract.currency,
            period=period,
            products=agreed.products,
            rates=agreed.rates,
            usage=(),
            deal=agreed.deal,
            calendar=contract.calendar,
            balances=balances,
            units=self._units[contract.rate_card_id],
            tax=tax.tax,
            tax_rates=tax.rates,
            tax_expected=tax.expected,
            shared_commits=self.balances.shared_commits(contract),
            spans=agreed.alike(period, balances).spans,
        )

    def fees(self, contract: Contract) -> Fees:
        """What the contract's recurring and scheduled fees depend on."""
        contract = self._contracts[contract.pk]
        agreed = self._agreed[contract.pk]
        return Fees(
            agreed.deal,
            contract.calendar,
            contract.currency,
            {product.key: product for product in agreed.products},
            self._rates[contract.rate_card_id],
            self.balances.shared_commits(contract),
        )

    def customer_keys(self, contract: Contract) -> tuple[str, ...]:
        """The keys of the customers whose usage the contract bills."""
        return self._keys[contract.pk]

    def requests(
        self, contract: Contract, inputs: StatementInputs, first_key: int, until: datetime | None = None
    ) -> list["Asked"]:
        """What to ask the meters for a statement, numbered from `first_key`; `until`: for what had accrued by then."""
        keys = self._keys[contract.pk]
        return [
            Asked(
                each.product,
                each.slice,
                UsageRequest(number, each.meter, keys, each.period, each.product.group_by, each.where),
                each.by_event,
            )
            for number, each in enumerate(self._measures(contract, inputs, until), start=first_key)
        ]

    def _measures(self, contract: Contract, inputs: StatementInputs, until: datetime | None) -> "list[Measure]":
        """What has to be measured for a statement. Of many contracts with the same terms it is worked out once."""
        known = self._agreed[contract.pk].alike(inputs.period, inputs.balances).measures
        if until not in known:
            known[until] = list(self._measured(inputs, until))
        return known[until]

    def _measured(self, inputs: StatementInputs, until: datetime | None) -> "Iterator[Measure]":
        wanted = sorted(inputs.deal.usage_filter.items())
        for product in inputs.products:
            meter = self._rows[product.key].meter
            if meter is None:
                continue
            where = tuple(pair for pair in wanted if pair[0] in meter.group_by)
            by_event = _by_event(product, inputs)
            slices = cut(inputs.period, slice_instants(inputs, product))
            for part, whole in measured_periods(product.aggregation, slices):
                measured = whole if until is None else accrued_part(product.aggregation, whole, until)
                if measured is not None:
                    yield Measure(product, part, meter, measured, where, by_event)

    def _agreements(self) -> "dict[int, Agreement]":
        """By contract; those on one card whose deals are the same share one."""
        found: dict[tuple[int, int], Agreement] = {}
        for pk, contract in self._contracts.items():
            deal = self._deals[pk]
            place = contract.rate_card_id, id(deal)
            if place not in found:
                products = self._products_of(contract.rate_card_id, deal)
                found[place] = Agreement(deal, products, self._rates_told_apart(contract.rate_card_id, deal))
        return {pk: found[contract.rate_card_id, id(self._deals[pk])] for pk, contract in self._contracts.items()}

    def _rates_told_apart(self, card: int, deal: Deal) -> Mapping[str, Sequence[Rate]]:
        """The card's rates. Usage that a meter cannot split as the contract's filter says stays without a price: it
        stands on the draft as such, as the rate came after the contract.
        """
        rates = self._rates[card]
        if not deal.usage_filter:
            return rates
        meters = {key: self._rows[key].meter for key in rates}
        lost = {key for key, meter in meters.items() if meter and not deal.usage_filter.keys() <= {*meter.group_by}}
        return {key: () if key in lost else found for key, found in rates.items()}

    def _products_of(self, card: int, deal: Deal) -> tuple[ProductTerms, ...]:
        """The products a contract can bill: those with a rate on its card, and those its deal names."""
        rates = self._rates[card]
        overwrites = [each.scope for each in deal.overrides if isinstance(each, Overwrite)]
        named = {each.product for each in deal.subscriptions} | {each.product for each in deal.charges}
        return tuple(
            product
            for key, product in self._products.items()
            if key in rates or key in named or any(covers_product(scope, product) for scope in overwrites)
        )


class Agreement(Struct, frozen=True):
    """What contracts on one card with the same deal have in common."""

    deal: Deal
    products: tuple[ProductTerms, ...]
    rates: Mapping[str, Sequence[Rate]]
    known: "dict[tuple[object, ...], Alike]" = field(default_factory=dict)

    def alike(self, period: Period, balances: Iterable[Balance]) -> "Alike":
        """What their statements of a period share. Balances cut a period too, whoever they are from."""
        windows = [(each.starting_at, each.ending_before, each.scope) for each in balances]
        key = (period, *((start, end, id(scope)) for start, end, scope in windows))
        return self.known.setdefault(key, Alike([scope for _, _, scope in windows]))


class Alike(Struct, frozen=True):
    """Kept as it is worked out: what has to be measured (for what had accrued by an instant, or for all of the period),
    and where prices hold. `scopes` are those it is known by: while they are kept, no other has their ids.
    """

    scopes: list[Scope]
    measures: "dict[datetime | None, list[Measure]]" = field(default_factory=dict)
    spans: Spans = field(default_factory=dict)


class Measure(Struct, frozen=True, gc=False):
    """A product, a slice of the billing period, and what its meter has to measure for it."""

    product: ProductTerms
    slice: Period
    meter: Meter
    period: Period
    where: tuple[tuple[str, tuple[str, ...]], ...]
    by_event: bool


class Asked(Struct, frozen=True, gc=False):
    """A usage request and the product and slice its answer is for; `by_event`: the price looks at each event."""

    product: ProductTerms
    slice: Period
    request: UsageRequest
    by_event: bool


def gather(
    periods: Sequence[BillingPeriod], terms: Terms, until: Sequence[datetime] | None = None
) -> list[StatementInputs]:
    """The inputs of the statement of each billing period, in the same order, all usage read in one snapshot.

    `until`: for each period, only usage before an instant (a period may be named several times then).
    """
    bare = [terms.inputs(row.contract, Period(row.starting_at, row.ending_before)) for row in periods]
    asked: list[list[Asked]] = []
    count = 0
    for place, (row, inputs) in enumerate(zip(periods, bare, strict=True)):
        asked.append(terms.requests(row.contract, inputs, count, until[place] if until else None))
        count += len(asked[-1])
    flat = [each for rows in asked for each in rows]
    answers = _answers(flat)
    earlier = _threshold_invoices(periods)
    return [
        replace(
            inputs,
            usage=tuple(usage for each in rows for usage in answers.get(each.request.key, ())),
            earlier=tuple(earlier.get(row.pk, ())),
        )
        for row, inputs, rows in zip(periods, bare, asked, strict=True)
    ]


def _threshold_invoices(periods: Sequence[BillingPeriod]) -> dict[int, list[Earlier]]:
    """What threshold invoices billed of each period. They outlive the term that asked for them."""
    found: dict[int, list[Earlier]] = defaultdict(list)
    for period, number, key, total in ask(THRESHOLD_INVOICES, [ids(period.pk for period in periods)]):
        found[period].append(Earlier(number or str(key), total))
    return found


def drawn_too(inputs: StatementInputs, drawn: Mapping[BalanceId, Decimal]) -> StatementInputs:
    """The inputs of a statement after others drew from the same balances."""
    balances = [replace(each, drawn=add([each.drawn, drawn.get(each.id, ZERO)])) for each in inputs.balances]
    return replace(inputs, balances=tuple(balances))


def _answers(asked: Sequence[Asked]) -> dict[int, list[SliceUsage]]:
    values = event_values([each.request for each in asked if each.by_event])
    answers: dict[int, list[SliceUsage]] = defaultdict(list)
    for row in quantities([each.request for each in asked]):
        place = asked[row.key - asked[0].request.key]
        answers[row.key].append(_slice_usage(place, row, values.get((row.key, row.group), ())))
    return answers


def _slice_usage(asked: Asked, row: Quantity, values: tuple[Decimal, ...]) -> SliceUsage:
    group = tuple(zip(asked.product.group_by, row.group, strict=True))
    return SliceUsage(asked.product.key, asked.slice, group, row.quantity, row.events, values)


def _by_event(product: ProductTerms, inputs: StatementInputs) -> bool:
    rates: Sequence[Rate] = inputs.rates.get(product.key, ())
    return any(looks_at_each_event(price) for price in (*_prices(rates), *_overwritten(product, inputs.deal)))


def _prices(rates: Iterable[Rate]) -> Iterable[Price]:
    for rate in rates:
        yield rate.price
        if rate.commit_price is not None:
            yield rate.commit_price


def _overwritten(product: ProductTerms, deal: Deal) -> Iterable[Price]:
    for each in deal.overrides:
        if isinstance(each, Overwrite) and covers_product(each.scope, product):
            yield each.price


def _customer_keys(contracts: Collection[Contract], deals: Mapping[int, Deal]) -> dict[int, tuple[str, ...]]:
    """By contract, the keys of the customers whose usage it bills: its own, and those below that it names."""
    named = {key for deal in deals.values() for key in deal.usage_customers}
    keys: dict[str, list[str]] = defaultdict(list)
    for customer, key in ask(KEYS, [ids(each.customer_id for each in contracts)]):
        keys[customer].append(key)
    named -= keys.keys()
    for customer, key in ask(KEYS_OF_NAMED, [sorted(named)]) if named else ():
        keys[customer].append(key)
    return {
        each.pk: tuple(
            sorted(key for name in (each.customer.key, *deals[each.pk].usage_customers) for key in keys[name])
        )
        for each in contracts
    }
