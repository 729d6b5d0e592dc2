"""Spend and balance thresholds: whether one is reached, and what follows. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from catalog.money import ZERO, add, multiply, round_amount, subtract
from contracts.balances import POSTPAID, Balance
from contracts.deal import Access, BalanceThreshold, Bill, Commit, Deal, SpendThreshold
from contracts.lines import Line

# Fees that are billed anyway, minimums and purchases of commits are not usage that runs away.
SPEND = frozenset({"usage", "percent_of_spend", "conversion", "discount", "draw"})


@dataclass(frozen=True, slots=True)
class Recharge:
    """A balance is filled up by `amount` (in the balance's unit) for `charge` in the contract's currency."""

    amount: Decimal
    charge: Decimal


def spend(lines: Iterable[Line]) -> Decimal:
    """What a statement charges for usage: after discounts and balances, before tax and what was invoiced already."""
    return add(line.amount for line in lines if line.kind in SPEND and not line.unit)


def spend_reached(threshold: SpendThreshold | None, spent: Decimal, billed: Decimal = ZERO) -> bool:
    """Whether an invoice is due at once for what has accrued; `billed` is the spend that threshold invoices of the
    period have billed.
    """
    return threshold is not None and subtract(spent, billed) >= threshold.amount


def is_gated(deal: Mapping[str, Any]) -> bool:
    """Whether a written deal has a spend threshold whose invoices must be paid before usage goes on."""
    return (deal.get("spend_threshold") or {}).get("gate") == "payment"


def counted_balance(threshold: BalanceThreshold, balances: Iterable[tuple[Balance, Decimal]], at: datetime) -> Decimal:
    """What is left for the customer at an instant, of the balances (with what is left of each) that count."""
    return add(
        left
        for balance, left in balances
        if balance.kind != POSTPAID
        and balance.unit == threshold.unit
        and balance.key not in threshold.excluded
        and balance.open_at(at)
    )


def recharge(
    threshold: BalanceThreshold | None, balance: Decimal, currency: str, unit_rate: Decimal | None = None
) -> Recharge | None:
    """The recharge that is due when the balance has fallen to the threshold; None while it has not.

    `unit_rate` is what one pricing unit costs, for a threshold in one.
    """
    if threshold is None or balance > threshold.amount:
        return None
    amount = subtract(threshold.recharge_to, balance)
    if amount <= ZERO:
        return None
    price = amount if unit_rate is None else multiply(amount, unit_rate)
    return Recharge(amount, round_amount(multiply(price, threshold.paid_fraction), currency))


def with_recharge(deal: Deal, key: str, due: Recharge, at: datetime, usable_from: datetime) -> Deal:
    """The deal with a recharge as a prepaid commit of its own: billed `at`, usable from an instant on."""
    unit = deal.balance_threshold.unit if deal.balance_threshold else ""
    bought = Commit(
        key=key,
        name="Recharge",
        unit=unit,
        access=(Access(amount=due.amount, starting_at=usable_from),),
        invoices=(Bill(amount=due.charge, at=at),) if due.charge else (),
    )
    return replace(deal, commits=(*deal.commits, bought))
