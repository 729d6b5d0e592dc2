"""Commits and credits of a customer, shared by contracts: a document of the billing file's customer. Pure.

Each is a contract's commit or credit with who may draw on it, and who bills what it costs.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from msgspec import Meta

from catalog.documents import Document, DocumentError, read, write
from contracts.deal import Commit, Credit, Deal, Key
from contracts.deal_format import Catalog, DealError, Fault, faults_of, with_instants

Currency = Annotated[str, Meta(pattern=r"^([A-Z]{3})?$")]


class SharedCredit(Credit, frozen=True, kw_only=True):
    """A credit of a customer. The contracts named may draw on it; none named: all contracts in `currency` of the
    customer and of those below it.
    """

    contracts: tuple[Key, ...] = ()
    currency: Currency = ""


class SharedCommit(Commit, frozen=True, kw_only=True):
    """A commit of a customer. `billed_by` is the contract whose invoices bill it."""

    contracts: tuple[Key, ...] = ()
    currency: Currency = ""
    billed_by: Key | None = None

    @property
    def is_billed(self) -> bool:
        return bool(self.invoices) or self.kind == "postpaid"


SharedTerm = SharedCommit | SharedCredit


class SharedFunds(Document, frozen=True, kw_only=True):
    """Everything a customer's contracts share."""

    commits: tuple[SharedCommit, ...] = ()
    credits: tuple[SharedCredit, ...] = ()

    @property
    def terms(self) -> tuple[SharedTerm, ...]:
        return *self.commits, *self.credits


NOTHING_SHARED = SharedFunds()


def parse_funds(written: object, zone: ZoneInfo, catalog: Catalog | None = None) -> SharedFunds:
    """Read the funds of a customer; bare dates are local midnights of its zone. Raises DealError."""
    try:
        funds: SharedFunds = read(SharedFunds, with_instants(written, zone))
    except DocumentError as error:
        raise DealError([Fault(error.path, error.code, error.message)]) from error
    faults = fund_faults(funds, catalog)
    if faults:
        raise DealError(faults)
    return funds


def fund_faults(funds: SharedFunds, catalog: Catalog | None = None) -> list[Fault]:
    """Everything in well-formed funds that cannot be meant."""
    found = faults_of(Deal(commits=funds.commits, credits=funds.credits), catalog)
    for path, term in placed_terms(funds):
        if len(set(term.contracts)) != len(term.contracts):
            found.append(Fault(f"{path}.contracts", "repeated", "a contract is named twice"))
    return found


def placed_terms(funds: SharedFunds) -> Iterator[tuple[str, SharedTerm]]:
    """Every shared term with its path."""
    yield from ((f"commits[{index}]", each) for index, each in enumerate(funds.commits))
    yield from ((f"credits[{index}]", each) for index, each in enumerate(funds.credits))


def funds_as_dict(funds: SharedFunds) -> dict[str, Any]:
    """The funds as they are stored; `parse_funds` gives the same back."""
    written: dict[str, Any] = write(funds)
    return written


def may_draw(term: SharedTerm, contract: str, currency: str) -> bool:
    """Whether a contract may draw on a shared term."""
    return (not term.contracts or contract in term.contracts) and term.currency in ("", currency)


def billed_by(contract: str, funds: Iterable[SharedFunds]) -> tuple[SharedCommit, ...]:
    """The shared commits whose purchases a contract bills."""
    return tuple(commit for each in funds for commit in each.commits if commit.billed_by == contract)
