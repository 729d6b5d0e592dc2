"""Which balances are open to contracts, and what the ledger says of them: as many queries for one as for a thousand.

Open to a contract are its own balances, what is left of the contract it renews, and the funds of its customer and of
every customer above that.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from django.db.models import Q
from msgspec.structs import replace

from billing_project.history import as_known
from billing_project.prepared import ask, ids
from catalog.money import ZERO
from contracts.balances import (
    Balance,
    BalanceId,
    Posted,
    balances_of,
    of_contract,
    of_customer,
    settled,
    shared_balances,
    starts_before,
)
from contracts.deal import Deal
from contracts.models import Contract, Customer, Families, below
from contracts.renewals import renewed_balances
from contracts.shared_terms import SharedCommit, SharedFunds, billed_by

# What was drawn, expired and rolled in, by balance and window.
SUMS = """
SELECT c.key, u.key, e.balance, e.segment, sum(e.amount) FILTER (WHERE e.kind IN ('draw', 'void_return', 'manual')),
       sum(e.amount) FILTER (WHERE e.kind = 'expiration' OR e.kind = 'rollover' AND e.amount < 0),
       sum(e.amount) FILTER (WHERE e.kind = 'rollover' AND e.amount > 0)
FROM contracts_ledgerentry AS e JOIN contracts_customer AS u ON u.id = e.customer_id
LEFT JOIN contracts_contract AS c ON c.id = e.contract_id
WHERE ({whose}) AND (e.at < %(before)s::timestamptz OR %(before)s::timestamptz IS NULL)
AND (e.created_at <= %(known_at)s::timestamptz OR %(known_at)s::timestamptz IS NULL)
GROUP BY 1, 2, 3, 4
"""
POSTED = SUMS.format(whose="e.contract_id = ANY(%(contracts)s::bigint[])")
POSTED_ALSO_SHARED = SUMS.format(
    whose="e.contract_id = ANY(%(contracts)s::bigint[])"
    " OR e.contract_id IS NULL AND e.customer_id = ANY(%(customers)s::bigint[])"
)


class OpenBalances:
    """The balances of contracts. Expects `customer` selected along. `before`: what happened to them from then on does
    not count. `known_at`: only what was known at that instant does.
    """

    def __init__(
        self,
        contracts: Collection[Contract],
        deals: Mapping[int, Deal],
        before: datetime | None = None,
        known_at: datetime | None = None,
    ) -> None:
        self._deals = dict(deals)
        self._contracts = [each.pk for each in contracts]
        self._families = Families(each.customer for each in contracts)
        lines = [self._families.line(each.customer_id) for each in contracts]
        self._sharing = {each.pk: each for line in lines for each in line if each.funds}
        self._funds = {pk: each.shared_funds for pk, each in self._sharing.items()}
        self._renewed = _contracts((each.renews_id for each in contracts), known_at)
        self._deals |= {pk: each.parsed_deal for pk, each in self._renewed.items() if pk not in self._deals}
        self._posted = _posted({*self._contracts, *self._renewed}, self._sharing, before, known_at)

    def payer(self, contract: Contract) -> Customer | None:
        """Whom the contract's invoices are addressed to, if not its customer."""
        payer = self._families.payer(contract.customer_id)
        return None if payer.pk == contract.customer_id else payer

    def shared_commits(self, contract: Contract) -> tuple[SharedCommit, ...]:
        """The shared commits whose purchases the contract bills."""
        return billed_by(contract.key, (funds for _, funds in self._shared_with(contract)))

    def billers(self) -> set[str]:
        """The contracts that true up shared postpaid commits."""
        commits = [commit for funds in self._funds.values() for commit in funds.commits]
        return {each.billed_by for each in commits if each.billed_by and each.kind == "postpaid"}

    def rivals(self) -> Q:
        """The invoices that draw on any of the same balances, those of the contracts themselves included."""
        contracts, customers = self.drawing()
        own = Q(contract__in=contracts)
        return own | Q(customer__in=customers) if customers else own

    def drawing(self) -> tuple[list[int], list[int]]:
        """Whose invoices those are: contracts, and customers."""
        return ids([*self._contracts, *self._renewed]), ids(below(self._sharing))

    def of(self, contract: Contract, until: datetime) -> list[Balance]:
        """Every balance open to a contract whose window starts before `until`, less what issued invoices drew.

        A shadow draws in a world of its own: shared balances are as they would be if nobody drew on them.
        """
        found = balances_of(
            self._deals[contract.pk],
            contract.calendar,
            contract.currency,
            until,
            self._posted,
            of_contract(contract.key),
        )
        if contract.renews_id is not None:
            found += self._carried(contract, self._renewed[contract.renews_id], until)
        for customer, funds in self._shared_with(contract):
            shared = shared_balances(funds, of_customer(customer.key), until, (contract.key, contract.currency))
            found += shared if contract.shadow else settled(shared, self._posted)
        return found

    def _carried(self, contract: Contract, old: Contract, until: datetime) -> list[Balance]:
        """The ended windows of the contract before, and the balances they go on in."""
        pairs = renewed_balances(
            self._deals[old.pk], old.calendar, old.currency, of_contract(old.key), of_contract(contract.key)
        )
        found: list[Balance] = []
        for source, heir in pairs:
            if starts_before(heir, until):
                # What expired before the renewal was agreed comes back with it.
                found.append(replace(source, drawn=self._posted.drawn.get(source.id, ZERO)))
                found += settled([heir], self._posted)
        return found

    def _shared_with(self, contract: Contract) -> list[tuple[Customer, SharedFunds]]:
        line = self._families.line(contract.customer_id)
        return [(each, self._funds[each.pk]) for each in line if each.pk in self._funds]


def _contracts(keys: Iterable[int | None], known_at: datetime | None) -> dict[int, Contract]:
    wanted = {each for each in keys if each is not None}
    if known_at is not None and wanted:
        return as_known(Contract, known_at, wanted)
    return Contract.objects.in_bulk(wanted) if wanted else {}


def _posted(
    contracts: Collection[int], customers: Collection[int], before: datetime | None, known_at: datetime | None
) -> Posted:
    """What the ledger says of the balances of contracts, and of those that customers share."""
    given = {"contracts": ids(contracts), "customers": ids(customers), "before": before, "known_at": known_at}
    posted = Posted()
    for contract, customer, balance, segment, *sums in ask(POSTED_ALSO_SHARED if customers else POSTED, given):
        place = (of_contract(contract) if contract else of_customer(customer), balance, segment)
        _note(posted, place, *sums)
    return posted


def _note(posted: Posted, place: BalanceId, drawn: Decimal | None, gone: Decimal | None, came: Decimal | None) -> None:
    for sums, amount in ((posted.drawn, drawn), (posted.expired, gone)):
        if amount is not None:
            sums[place] = -amount
    if came is not None:
        posted.rolled_in[place] = came
