"""The balances of a scenario: what commits and credits hold after every statement, issued or not, and how it came.

The entries are those that issuing the statements would post: start, draw, rollover, true-up, expiration.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from catalog.money import ZERO, add, negate, subtract
from contracts.balances import (
    CREDIT,
    POSTPAID,
    PREPAID,
    Balance,
    BalanceId,
    balances_of,
    of_contract,
    of_customer,
    rolled_over,
    shared_balances,
    starts_before,
)
from contracts.deal import Deal
from contracts.models import Contract, Customer
from contracts.renewals import renewed_balances
from invoicing.billing_file.amounts import instant, money, quantity
from invoicing.drafts import drawn_balance
from invoicing.models import Invoice, InvoiceLine

ENTRY_ORDER = ("draw", "rollover", "true_up", "expiration", "start")
MOMENT = timedelta(microseconds=1)
Statements = Sequence[tuple[Invoice, Sequence[InvoiceLine]]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of a balance."""

    kind: str
    at: datetime
    amount: Decimal
    segment: str
    after_start: bool = False


@dataclass(slots=True)
class _Window:
    """One window of a balance while its entries are put together."""

    balance: Balance
    currency: str
    entries: list[Entry] = field(default_factory=list)
    left: Decimal = ZERO

    def add(self, kind: str, at: datetime, amount: Decimal) -> None:
        if amount:
            start = self.balance.starting_at or (self.entries[0].at if self.entries else None)
            after_start = kind == "draw" and at == start
            self.entries.append(Entry(kind, at, amount, self.balance.segment, after_start))
            self.left = add([self.left, amount])


@dataclass(frozen=True, slots=True)
class _Account:
    """Who owns balances: a contract, or a customer whose contracts share them."""

    named: dict[str, str | None]
    starting_at: datetime
    currencies: dict[str, str]
    kinds: dict[str, tuple[str, str]]


def balance_rows(
    contracts: Sequence[Contract], sharing: Sequence[Customer], statements: Statements, as_of: datetime
) -> list[dict[str, Any]]:
    """One row for each commit and credit of contracts, in order of their keys, then those that customers share.

    `statements` are all that draw on any of them.
    """
    accounts = _accounts(contracts, sharing)
    windows = _windows(_balances(contracts, sharing, as_of), accounts, statements, as_of)
    keys = {(owner, key) for owner, account in accounts.items() for key in account.kinds}
    keys |= {(each.balance.owner, each.balance.key) for each in windows.values()}
    places = {owner: place for place, owner in enumerate(accounts)}
    rows = []
    for owner, key in sorted(keys, key=lambda one: (places[one[0]], one[1])):
        mine = [window for (of, named, _), window in windows.items() if (of, named) == (owner, key)]
        kind, unit = accounts[owner].kinds.get(key) or (mine[0].balance.kind, mine[0].balance.unit)
        currency = accounts[owner].currencies.get(key) or mine[0].currency
        entries = sorted((entry for window in mine for entry in window.entries), key=_order)
        rows.append(
            {
                **accounts[owner].named,
                "balance": key,
                "kind": kind,
                "unit": unit or currency,
                "remaining": _amount(add(window.left for window in mine), currency, unit),
                "ledger": [
                    {
                        "kind": entry.kind,
                        "at": instant(entry.at),
                        "amount": _amount(entry.amount, currency, unit),
                        "segment": entry.segment,
                    }
                    for entry in entries
                ],
            }
        )
    return rows


def _accounts(contracts: Sequence[Contract], sharing: Sequence[Customer]) -> dict[str, _Account]:
    accounts = {}
    for each in contracts:
        named: dict[str, str | None] = {"customer": each.customer.key, "contract": each.key}
        kinds = _kinds(each.parsed_deal)
        currencies = dict.fromkeys(kinds, each.currency)
        accounts[of_contract(each.key)] = _Account(named, each.starting_at, currencies, kinds)
    first = min((each.starting_at for each in contracts), default=None)
    for customer in sharing:
        funds = customer.shared_funds
        kinds = _kinds(Deal(commits=funds.commits, credits=funds.credits))
        currencies = {term.key: term.currency for term in funds.terms}
        start = first or customer.created_at
        accounts[of_customer(customer.key)] = _Account(
            {"customer": customer.key, "contract": None}, start, currencies, kinds
        )
    return accounts


def _kinds(deal: Deal) -> dict[str, tuple[str, str]]:
    kinds = {each.key: (PREPAID if each.kind == "prepaid" else POSTPAID, each.unit) for each in deal.commits}
    kinds |= {each.key: (CREDIT, each.unit) for each in (*deal.credits, *deal.recurring_credits)}
    return kinds | {each.key: (PREPAID, each.unit) for each in deal.recurring_commits}


def _order(entry: Entry) -> tuple[datetime, int]:
    """What a window starts with comes before what is drawn from it at that very instant."""
    return entry.at, ENTRY_ORDER.index(entry.kind) + (len(ENTRY_ORDER) if entry.after_start else 0)


def _amount(amount: Decimal, currency: str, unit: str) -> str:
    return quantity(amount) if unit else money(amount, currency)


def _windows(
    balances: Iterable[Balance], accounts: Mapping[str, _Account], statements: Statements, as_of: datetime
) -> dict[BalanceId, _Window]:
    windows: dict[BalanceId, _Window] = {}
    for balance in balances:
        account = accounts[balance.owner]
        window = _Window(balance, account.currencies.get(balance.key, ""))
        windows[balance.id] = window
        if balance.rolls_from is not None:
            window.currency = windows[balance.rolls_from].currency
        elif balance.amount is not None:
            window.add("start", balance.starting_at or account.starting_at, balance.amount)
    _add_draws(windows, statements, as_of)
    heirs = {each.balance.rolls_from: each for each in windows.values() if each.balance.rolls_from is not None}
    ended = [each for each in windows.values() if _has_ended(each.balance, as_of)]
    for window in sorted(ended, key=lambda each: each.balance.ending_before or as_of):
        _end(window, heirs.get(window.balance.id), as_of)
    return windows


def _balances(contracts: Sequence[Contract], sharing: Sequence[Customer], as_of: datetime) -> Iterator[Balance]:
    """Every balance that has started, those that others roll over from before these."""
    until, known = as_of + MOMENT, {each.pk: each for each in contracts}
    for each in contracts:
        owner = of_contract(each.key)
        yield from balances_of(each.parsed_deal, each.calendar, each.currency, until, owner=owner)
    for each in contracts:
        if each.renews_id in known:
            old = known[each.renews_id]
            owner, heir = of_contract(old.key), of_contract(each.key)
            for pair in renewed_balances(old.parsed_deal, old.calendar, old.currency, owner, heir):
                yield from pair if starts_before(pair[1], until) else ()
    for customer in sharing:
        yield from shared_balances(customer.shared_funds, of_customer(customer.key), until, None)


def _add_draws(windows: Mapping[BalanceId, _Window], statements: Statements, as_of: datetime) -> None:
    """One entry for what a statement draws from a window: when its fees fell due, or the last usage it pays for was
    over. What a shadow draws from shared balances is not theirs.
    """
    for invoice, lines in statements:
        amounts: dict[BalanceId, Decimal] = defaultdict(Decimal)
        ends: dict[BalanceId, datetime] = {}
        for draw in invoice.draws:
            place = drawn_balance(draw, invoice.contract.key)
            amounts[place] = add([amounts[place], Decimal(draw["amount"])])
            end = invoice.scheduled_at or lines[draw["position"] - 1].ending_before
            ends[place] = max(ends.get(place, end), end)
        for place, amount in amounts.items():
            if place in windows and not (invoice.contract.shadow and windows[place].balance.shared):
                until = windows[place].balance.ending_before or ends[place]
                windows[place].add("draw", min(ends[place], until, as_of), negate(amount))


def _has_ended(balance: Balance, as_of: datetime) -> bool:
    return balance.ending_before is not None and balance.ending_before <= as_of


def _end(window: _Window, heir: _Window | None, as_of: datetime) -> None:
    """Roll over, true up or let expire what is left."""
    balance = window.balance
    end = balance.ending_before or as_of
    if heir is not None and balance.rollover is not None and balance.amount is not None:
        left = window.left
        moved = rolled_over(balance.rollover, balance.amount, left, window.currency, balance.unit)
        window.add("rollover", end, negate(moved))
        heir.add("rollover", end, moved)
    if balance.kind == POSTPAID:
        drawn = subtract(balance.amount or ZERO, window.left)
        billed = min(max(subtract(balance.committed, drawn), ZERO), window.left)
        window.add("true_up", end, negate(billed))
    window.add("expiration", end, negate(window.left))
