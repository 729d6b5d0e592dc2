"""Balances of commits and credits: the sum of append-only entries, never below zero.

A balance belongs to a contract, or to a customer whose contracts share it.
"""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import QuerySet, Sum

from billing_project.errors import RuleError
from catalog.money import ZERO
from contracts.models import Contract, Customer, LedgerEntry, lock_families

Owner = Contract | Customer


def owner_named(name: str) -> Owner:
    """The contract or customer that owns a balance, by the name draws keep (`contract:key`, `customer:key`)."""
    kind, _, key = name.partition(":")
    return Contract.objects.get(key=key) if kind == "contract" else Customer.objects.get(key=key)


def entries_of(owner: Owner) -> QuerySet[LedgerEntry]:
    """Every entry of the balances of a contract, or of those a customer shares."""
    if isinstance(owner, Contract):
        return LedgerEntry.objects.filter(contract=owner)
    return LedgerEntry.objects.filter(contract=None, customer=owner)


def balance_of(owner: Owner, balance: str, segment: str | None = None) -> Decimal:
    """What is left of a commit or credit (or of one of its windows), in its currency or its own unit."""
    entries = entries_of(owner).filter(balance=balance)
    if segment is not None:
        entries = entries.filter(segment=segment)
    return entries.aggregate(total=Sum("amount"))["total"] or ZERO


def post(owner: Owner, balance: str, kind: str, amount: Decimal, at: datetime, source: str, segment: str = "") -> bool:
    """Post an entry once per `source`, under the lock of the customer's family; False when it is there already.

    Raises RuleError when the balance would fall below zero or when the source was posted with another amount.
    """
    with transaction.atomic():
        # Draws of one family wait for each other here: two of them could otherwise spend the same money.
        lock_families([owner.customer if isinstance(owner, Contract) else owner])
        posted = entries_of(owner).filter(balance=balance, segment=segment, source=source).first()
        if posted is not None:
            if (posted.kind, posted.amount) != (kind, amount):
                raise RuleError(
                    f"{source} is posted to {balance} already, as {posted.kind} of {posted.amount}.", path="source"
                )
            return False
        left = balance_of(owner, balance, segment)
        if left + amount < 0:
            raise RuleError(f"{balance} has {left} left; {amount} would take it below zero.", path="amount")
        add_entry(owner, balance, kind, amount, at, source, segment)
    return True


def add_entry(owner: Owner, balance: str, kind: str, amount: Decimal, at: datetime, source: str, segment: str) -> None:
    """Write an entry as it is: the caller holds the lock and has looked at the balance."""
    LedgerEntry.objects.create(
        customer_id=owner.customer_id if isinstance(owner, Contract) else owner.pk,
        contract=owner if isinstance(owner, Contract) else None,
        balance=balance,
        segment=segment,
        kind=kind,
        amount=amount,
        at=at,
        source=source,
    )
