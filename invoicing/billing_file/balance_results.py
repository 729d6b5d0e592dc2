"""The balances of a scenario: what commits and credits hold after every statement, issued or not, and how it came.

The entries are those that issuing the statements would post: start, draw, rollover, true-up, expiration.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from catalog.money import ZERO, add, negate, subtract
from contracts.balances import CREDIT, POSTPAID, PREPAID, Balance, balances_of, rolled_over
from contracts.deal import Deal
from contracts.models import Contract
from invoicing.billing_file.amounts import instant, money, quantity
from invoicing.models import Invoice, InvoiceLine

ENTRY_ORDER = ("draw", "rollover", "true_up", "expiration", "start")
MOMENT = timedelta(microseconds=1)


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
    entries: list[Entry] = field(default_factory=list)
    left: Decimal = ZERO

    def add(self, kind: str, at: datetime, amount: Decimal) -> None:
        if amount:
            start = self.balance.starting_at or (self.entries[0].at if self.entries else None)
            after_start = kind == "draw" and at == start
            self.entries.append(Entry(kind, at, amount, self.balance.segment, after_start))
            self.left = add([self.left, amount])


def balance_rows(
    contract: Contract, statements: Iterable[tuple[Invoice, Sequence[InvoiceLine]]], as_of: datetime
) -> list[dict[str, Any]]:
    """One row for each commit and credit of a contract, in order of their keys."""
    deal = contract.parsed_deal
    windows = _windows(contract, deal, statements, as_of)
    rows = []
    for key, (kind, unit) in sorted(_kinds(deal).items()):
        mine = [window for window in windows if window.balance.key == key]
        entries = sorted((entry for window in mine for entry in window.entries), key=_order)
        rows.append(
            {
                "contract": contract.key,
                "balance": key,
                "kind": kind,
                "unit": unit or contract.currency,
                "remaining": _amount(add(window.left for window in mine), contract.currency, unit),
                "ledger": [
                    {
                        "kind": entry.kind,
                        "at": instant(entry.at),
                        "amount": _amount(entry.amount, contract.currency, unit),
                        "segment": entry.segment,
                    }
                    for entry in entries
                ],
            }
        )
    return rows


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
    contract: Contract, deal: Deal, statements: Iterable[tuple[Invoice, Sequence[InvoiceLine]]], as_of: datetime
) -> list[_Window]:
    found = balances_of(deal, contract.calendar, contract.currency, as_of + MOMENT)
    windows = {each.id: _Window(each) for each in found}
    for window in windows.values():
        if window.balance.amount is not None:
            window.add("start", window.balance.starting_at or contract.starting_at, window.balance.amount)
    _add_draws(windows, statements, as_of)
    heirs = {(each.key, each.rolls_from): windows[each.id] for each in found if each.rolls_from is not None}
    ended = [each for each in windows.values() if _has_ended(each.balance, as_of)]
    for window in sorted(ended, key=lambda each: each.balance.ending_before or as_of):
        _end(window, heirs.get(window.balance.id), contract, as_of)
    return list(windows.values())


def _add_draws(
    windows: dict[tuple[str, str], _Window],
    statements: Iterable[tuple[Invoice, Sequence[InvoiceLine]]],
    as_of: datetime,
) -> None:
    """One entry for what a statement draws from a window: when its fees fell due, or the last usage it pays for was
    over.
    """
    for invoice, lines in statements:
        amounts: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        ends: dict[tuple[str, str], datetime] = {}
        for draw in invoice.draws:
            place = (draw["balance"], draw["segment"])
            amounts[place] = add([amounts[place], Decimal(draw["amount"])])
            end = invoice.scheduled_at or lines[draw["position"] - 1].ending_before
            ends[place] = max(ends.get(place, end), end)
        for place, amount in amounts.items():
            if place in windows:
                until = windows[place].balance.ending_before or ends[place]
                windows[place].add("draw", min(ends[place], until, as_of), negate(amount))


def _has_ended(balance: Balance, as_of: datetime) -> bool:
    return balance.ending_before is not None and balance.ending_before <= as_of


def _end(window: _Window, heir: _Window | None, contract: Contract, as_of: datetime) -> None:
    """Roll over, true up or let expire what is left."""
    balance = window.balance
    end = balance.ending_before or as_of
    if heir is not None and balance.rollover is not None and balance.amount is not None:
        left = window.left
        moved = rolled_over(balance.rollover, balance.amount, left, contract.currency, balance.unit)
        window.add("rollover", end, negate(moved))
        heir.add("rollover", end, moved)
    if balance.kind == POSTPAID:
        drawn = subtract(balance.amount or ZERO, window.left)
        billed = min(max(subtract(balance.committed, drawn), ZERO), window.left)
        window.add("true_up", end, negate(billed))
    window.add("expiration", end, negate(window.left))
