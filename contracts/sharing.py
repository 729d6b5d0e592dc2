"""What customers share, checked against the contracts there are: who draws, in which currency, and who bills it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db.models import Sum
from msgspec.structs import replace

from catalog.models import currency_code
from catalog.money import ZERO, add, negate
from contracts.catalog_terms import catalog_of
from contracts.deal import Access
from contracts.deal_format import Catalog, DealError, Fault
from contracts.ledger import entries_of
from contracts.models import Contract, Customer, Families, below
from contracts.period_text import instant_text, period_text
from contracts.shared_terms import (
    SharedCommit,
    SharedFunds,
    SharedTerm,
    fund_faults,
    funds_as_dict,
    placed_terms,
)


@dataclass(frozen=True, slots=True)
class Settled:
    """The funds of a customer with nothing left open, or what is wrong with them."""

    funds: SharedFunds
    faults: tuple[Fault, ...] = ()


def settle(customer: Customer, *, wake: bool = True) -> None:
    """Complete what a customer shares and save it: the currency of each commit and credit and who bills it, where the
    contracts there are leave only one choice. With `wake` the next close looks at those who bill.

    Raises DealError with everything that cannot be meant.
    """
    settled = settled_funds(customer)
    if settled.faults:
        raise DealError(settled.faults)
    written = funds_as_dict(settled.funds)
    if written != customer.funds:
        customer.funds = written
        customer.save(update_fields=["funds"])
    bills = {each.billed_by: each.invoices for each in settled.funds.commits if each.billed_by and each.invoices}
    for biller in Contract.objects.filter(key__in=bills if wake else ()):
        first = max(biller.starting_at, min(bill.at for bill in bills[biller.key]))
        if biller.next_fees_at is None or biller.next_fees_at > first:
            Contract.objects.filter(pk=biller.pk).update(next_fees_at=first)


def settled_funds(customer: Customer) -> Settled:
    """What a customer shares, completed and checked against the contracts of its family."""
    funds = customer.shared_funds
    family = {
        each.key: each
        for each in Contract.objects.filter(customer__in=below([customer.pk]))
        .select_related("rate_card", "customer")
        .order_by("starting_at", "key")
    }
    found = fund_faults(funds, _catalog(family.values()))
    complete: dict[str, SharedTerm] = {}
    for path, term in placed_terms(funds):
        unknown = list(_unknown(path, term, family, customer))
        found += unknown
        if not unknown:
            term, wrong = _complete(path, term, family)
            found += wrong
        complete[path] = term
    settled = SharedFunds(
        commits=tuple(each for each in complete.values() if isinstance(each, SharedCommit)),
        credits=tuple(each for each in complete.values() if not isinstance(each, SharedCommit)),
    )
    return Settled(settled, tuple(found))


@dataclass(frozen=True, slots=True)
class SharedRow:
    """What a customer shares: what may be used in all, and what issued invoices drew of it."""

    owner: Customer
    term: SharedTerm
    kind: str
    granted: Decimal
    drawn: Decimal

    @property
    def contracts(self) -> str:
        return ", ".join(self.term.contracts) or f"all in {self.term.currency}"

    @property
    def spans(self) -> list[str]:
        """When each amount can be used."""
        zone = ZoneInfo(self.owner.timezone)
        return [_span(each, zone) for each in self.term.access]


def shared_rows(customer: Customer) -> list[SharedRow]:
    """Every commit and credit that a customer and those above it share."""
    return [row for owner in Families([customer]).line(customer.pk) if owner.funds for row in _rows_of(owner)]


def _span(access: Access, zone: ZoneInfo) -> str:
    if access.starting_at is not None:
        return period_text(access.starting_at, access.ending_before, zone)
    return f"until {instant_text(access.ending_before, zone)}" if access.ending_before else "at any time"


def _rows_of(customer: Customer) -> list[SharedRow]:
    draws = entries_of(customer).filter(kind__in=["draw", "void_return"])
    drawn = dict(draws.values_list("balance").annotate(total=Sum("amount")).order_by())
    return [
        SharedRow(
            customer,
            term,
            f"{term.kind} commit" if isinstance(term, SharedCommit) else "credit",
            add(access.amount for access in term.access),
            negate(drawn.get(term.key, ZERO)),
        )
        for term in customer.shared_funds.terms
    ]


def _catalog(contracts: Collection[Contract]) -> Catalog | None:
    """Every product, and the pricing units of every card in the family; None while there is no contract."""
    cards = {each.rate_card_id: each.rate_card for each in contracts}
    catalogs = [catalog_of(card) for card in cards.values()]
    if not catalogs:
        return None
    return Catalog(catalogs[0].products, frozenset().union(*(each.units for each in catalogs)))


def _unknown(path: str, term: SharedTerm, family: Mapping[str, Contract], customer: Customer) -> Iterator[Fault]:
    for index, key in enumerate(term.contracts):
        if key not in family:
            message = f"{key} is no contract of {customer.key} or of a customer below it"
            yield Fault(f"{path}.contracts[{index}]", "unknown", message)
    if isinstance(term, SharedCommit) and term.billed_by and term.billed_by not in family:
        message = f"{term.billed_by} is no contract of {customer.key} or of a customer below it"
        yield Fault(f"{path}.billed_by", "unknown", message)
    if term.currency:
        try:
            currency_code(term.currency)
        except ValidationError as error:
            yield Fault(f"{path}.currency", "unknown", " ".join(error.messages))


def _complete(path: str, term: SharedTerm, family: Mapping[str, Contract]) -> tuple[SharedTerm, list[Fault]]:
    drawing = [family[key] for key in term.contracts] if term.contracts else list(family.values())
    if not term.currency:
        currencies = sorted({each.currency for each in drawing})
        if len(currencies) != 1:
            return term, [Fault(f"{path}.currency", "required", _say(currencies, "currency"))]
        term = replace(term, currency=currencies[0])
    faults = [
        Fault(f"{path}.contracts[{index}]", "currency", f"{key} is in {family[key].currency}, this in {term.currency}")
        for index, key in enumerate(term.contracts)
        if family[key].currency != term.currency
    ]
    if isinstance(term, SharedCommit) and term.is_billed and not faults:
        return _with_biller(path, term, [each for each in drawing if each.currency == term.currency], family)
    return term, faults


def _with_biller(
    path: str, term: SharedCommit, drawing: Collection[Contract], family: Mapping[str, Contract]
) -> tuple[SharedTerm, list[Fault]]:
    if term.billed_by is None:
        meant = [each.key for each in drawing if not each.shadow]
        if len(meant) != 1:
            return term, [Fault(f"{path}.billed_by", "required", _say(meant, "contract that bills it"))]
        return replace(term, billed_by=meant[0]), []
    biller = family[term.billed_by]
    if biller.currency != term.currency:
        return term, [Fault(f"{path}.billed_by", "currency", f"{biller.key} is in {biller.currency}")]
    if biller.shadow:
        return term, [Fault(f"{path}.billed_by", "shadow", f"{biller.key} is a shadow: it bills nothing")]
    return term, []


def _say(choices: Iterable[str], what: str) -> str:
    named = ", ".join(choices)
    return (
        f"name the {what}: it can be {named}" if named else f"name the {what}: no contract that may draw is there yet"
    )
