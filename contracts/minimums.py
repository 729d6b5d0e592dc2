"""Contract minimums and the true-up of postpaid commits: a line for what is missing. Pure.

A minimum counts what was charged after discounts and before credits and commits: usage a commit pays for is spend.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from msgspec.structs import replace

from catalog.money import add, round_amount, subtract
from contracts.balances import POSTPAID
from contracts.deal import Minimum, Scope
from contracts.drawdown import Purse
from contracts.lines import Line
from contracts.scopes import covers
from contracts.spend_share import Spend
from meters.periods import Period


def missing(least: Decimal, spent: Decimal, currency: str) -> Decimal:
    """What is missing to the least amount, never below zero."""
    return max(subtract(round_amount(least, currency), spent), Decimal(0))


def minimum_lines(minimums: Sequence[Minimum], spend: Spend, currency: str) -> list[Line]:
    """A line for each minimum that is missed. Those with a scope come first: what they add counts for the others."""
    period = spend.period
    lines: list[Line] = []
    for minimum in sorted(minimums, key=lambda each: each.scope == Scope()):
        if not minimum.holds_at(period.starting_at):
            continue
        spent = _spent(minimum.scope, spend, currency)
        if minimum.scope == Scope():
            spent = add([spent, *(line.amount for line in lines)])
        amount = missing(minimum.amount, spent, currency)
        if amount:
            lines.append(_line("minimum", "Minimum", period, amount, f"minimum of {minimum.amount} of the contract"))
    return lines


def _spent(scope: Scope, spend: Spend, currency: str) -> Decimal:
    """What the charges in scope come to. Those in a pricing unit count at its rate, whether they are converted or a
    balance in that unit pays.
    """
    meant = [payable for payable in spend.charges if covers(scope, payable.product, payable.line.group)]
    in_units = add(spend.amount(payable) for payable in meant if payable.line.unit)
    converted = add(spend.converted(payable) for payable in meant if payable.line.kind == "conversion")
    rest = round_amount(subtract(in_units, converted), currency)
    return add([rest, *(payable.net for payable in meant if not payable.line.unit)])


def true_up_lines(purse: Purse, period: Period, currency: str, contract: str) -> Iterator[Line]:
    """What is missing to postpaid commits whose window ends with this period or in it; of those that contracts share,
    to the ones that this contract bills.
    """
    for balance in purse.balances:
        ends = balance.ending_before
        if balance.kind != POSTPAID or ends is None or not period.starting_at < ends <= period.ending_before:
            continue
        if balance.shared and balance.billed_by != contract:
            continue
        drawn = subtract(balance.amount or Decimal(0), purse.left[balance.id])
        amount = missing(balance.committed, drawn, currency)
        if amount:
            line = _line(
                "true_up", f"True-up of {balance.name}", period, amount, f"commit {balance.key} of the contract"
            )
            yield replace(line, product=balance.key, balance=balance.key, segment=balance.segment)


def _line(kind: str, name: str, period: Period, amount: Decimal, source: str) -> Line:
    return Line(kind, "", name, (), period, amount=amount, amount_exact=amount, source=source)
