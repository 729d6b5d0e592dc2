"""Balances of commits and credits: the sum of append-only entries, never below zero."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from billing_project.errors import RuleError
from catalog.money import ZERO, subtract
from contracts.balances import POSTPAID, Balance, balances_of, rolled_over
from contracts.models import Contract, Customer, LedgerEntry

Kind = LedgerEntry.Kind


def balance_of(contract: Contract, balance: str, segment: str | None = None) -> Decimal:
    """What is left of a commit or credit (or of one of its windows), in the contract's currency or its own unit."""
    entries = LedgerEntry.objects.filter(contract=contract, balance=balance)
    if segment is not None:
        entries = entries.filter(segment=segment)
    return entries.aggregate(total=Sum("amount"))["total"] or ZERO


def post(
    contract: Contract, balance: str, kind: str, amount: Decimal, at: datetime, source: str, segment: str = ""
) -> bool:
    """Post an entry once per `source`, under the customer's lock; False when it is there already.

    Raises RuleError when the balance would fall below zero or when the source was posted with another amount.
    """
    with transaction.atomic():
        # Draws of one customer wait for each other here: two of them could otherwise spend the same money.
        Customer.objects.select_for_update().get(pk=contract.customer_id)
        entries = LedgerEntry.objects.filter(contract=contract, balance=balance, segment=segment)
        posted = entries.filter(source=source).first()
        if posted is not None:
            if (posted.kind, posted.amount) != (kind, amount):
                raise RuleError(
                    f"{source} is posted to {balance} already, as {posted.kind} of {posted.amount}.", path="source"
                )
            return False
        left = balance_of(contract, balance, segment)
        if left + amount < 0:
            raise RuleError(f"{balance} has {left} left; {amount} would take it below zero.", path="amount")
        LedgerEntry.objects.create(
            customer_id=contract.customer_id,
            contract=contract,
            balance=balance,
            segment=segment,
            kind=kind,
            amount=amount,
            at=at,
            source=source,
        )
    return True


def post_starts(contract: Contract, until: datetime) -> None:
    """Post the amount of every window that starts before `until`. What rolls over is posted when its window ends."""
    for balance in _balances(contract, until):
        if balance.amount is not None:
            at = balance.starting_at or contract.starting_at
            _post(contract, balance, Kind.START, balance.amount, at, "start")


def post_ends(contract: Contract, until: datetime, still_drawing: Iterable[tuple[str, str]] = ()) -> None:
    """Roll over or let expire what is left of every window that ended by `until`; a postpaid one is trued up.

    Windows in `still_drawing` wait: an invoice that draws on them is not issued yet.
    """
    waiting = set(still_drawing)
    # What rolls over starts when the window it comes from ends: at `until` itself.
    balances = _balances(contract, until + timedelta(microseconds=1))
    heirs = {(each.key, each.rolls_from): each for each in balances if each.rolls_from is not None}
    # A window ends before what it leaves can end: in order of time one pass is enough.
    ended = [each for each in balances if each.ending_before is not None and each.ending_before <= until]
    for balance in sorted(ended, key=lambda each: each.ending_before or until):
        if balance.id not in waiting:
            _end(contract, balance, heirs.get(balance.id))


def _end(contract: Contract, balance: Balance, heir: Balance | None) -> None:
    end = balance.ending_before or contract.starting_at
    left = balance_of(contract, balance.key, balance.segment)
    if heir is not None and balance.rollover is not None and balance.amount is not None:
        moved = rolled_over(balance.rollover, balance.amount, left, contract.currency, balance.unit)
        if _post(contract, balance, Kind.ROLLOVER, -moved, end, "rollover"):
            left = subtract(left, moved)
        _post(contract, heir, Kind.ROLLOVER, moved, end, "rolled-in")
    kind = Kind.TRUE_UP if balance.kind == POSTPAID else Kind.EXPIRATION
    _post(contract, balance, kind, -left, end, "end")


def _post(contract: Contract, balance: Balance, kind: str, amount: Decimal, at: datetime, source: str) -> bool:
    """Post the entry a window has once in its life; a second run, or nothing to post, changes nothing."""
    known = LedgerEntry.objects.filter(
        contract=contract, balance=balance.key, segment=balance.segment, source=f"window:{source}"
    )
    if not amount or known.exists():
        return False
    return post(contract, balance.key, kind, amount, at, f"window:{source}", balance.segment)


def _balances(contract: Contract, until: datetime) -> list[Balance]:
    return balances_of(contract.parsed_deal, contract.calendar, contract.currency, until)
