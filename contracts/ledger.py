"""Balances of commits and credits: the sum of append-only entries, never below zero."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import Sum

from billing_project.decimals import plain
from billing_project.errors import RuleError
from contracts.models import Contract, Customer, LedgerEntry


def balance_of(contract: Contract, balance: str) -> Decimal:
    """What is left of a commit or credit, in the contract's currency."""
    total = LedgerEntry.objects.filter(contract=contract, balance=balance).aggregate(total=Sum("amount"))["total"]
    return total or Decimal(0)


def post(contract: Contract, balance: str, kind: str, amount: Decimal, at: datetime, source: str) -> bool:
    """Post an entry once per `source`, under the customer's lock; False when it is there already.

    Raises RuleError when the balance would fall below zero or when the source was posted with another amount.
    """
    with transaction.atomic():
        # Draws of one customer wait for each other here: two of them could otherwise spend the same money.
        Customer.objects.select_for_update().get(pk=contract.customer_id)
        posted = LedgerEntry.objects.filter(contract=contract, balance=balance, source=source).first()
        if posted is not None:
            if (posted.kind, posted.amount) != (kind, amount):
                raise RuleError(
                    f"{source} is posted to {balance} already, as {posted.kind} of {plain(posted.amount)}.",
                    path="source",
                )
            return False
        left = balance_of(contract, balance) + amount
        if left < 0:
            raise RuleError(
                f"{balance} has {plain(left - amount)} left; {plain(amount)} would take it below zero.", path="amount"
            )
        LedgerEntry.objects.create(contract=contract, balance=balance, kind=kind, amount=amount, at=at, source=source)
    return True
