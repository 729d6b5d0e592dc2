"""Scheduled fees: what is billed at an instant, whatever is used. Pure.

Fees in advance, scheduled and recurring charges, and the purchases of commits. Everything due at the same instant
stands on one scheduled invoice.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from msgspec.structs import replace

from catalog.money import multiply, round_amount
from contracts.balances import child_amount
from contracts.deal import Charge, RecurringCommit
from contracts.lines import Line, Payable
from contracts.products import ProductTerms
from contracts.proration import spans
from contracts.rating import Unrated
from contracts.shared_terms import SharedCommit
from contracts.subscription_lines import Fees, advance_fees
from meters.periods import Period, local_midnight


@dataclass(slots=True)
class Due:
    """What is billed at one instant."""

    charges: list[Payable] = field(default_factory=list)
    unrated: list[Unrated] = field(default_factory=list)

    @property
    def period(self) -> Period:
        """The span the fees are for."""
        parts = [payable.line.period for payable in self.charges] + [row.period for row in self.unrated]
        return Period(min(part.starting_at for part in parts), max(part.ending_before for part in parts))


def scheduled_fees(fees: Fees, after: datetime | None, until: datetime) -> dict[datetime, Due]:
    """Everything due at instants in `(after, until]`, in order of time (after None: from the beginning)."""
    due: dict[datetime, Due] = defaultdict(Due)
    for at, each in _fees(fees, after, until):
        if isinstance(each, Unrated):
            due[at].unrated.append(each)
        elif each.line.amount:
            due[at].charges.append(each)
    return {at: due[at] for at in sorted(due)}


def _fees(fees: Fees, after: datetime | None, until: datetime) -> Iterator[tuple[datetime, Payable | Unrated]]:
    yield from advance_fees(fees, after, until)
    for at, payable in (*_charges(fees, until), *_purchases(fees), *_recurring_purchases(fees, until)):
        if (after is None or at > after) and at <= until:
            yield at, payable


def _charges(fees: Fees, until: datetime) -> Iterator[tuple[datetime, Payable]]:
    for charge in fees.deal.charges:
        if charge.every is None:
            yield charge.at, _charge(fees, charge, _day(fees, charge.at))
            continue
        for span in spans(charge.every, fees.calendar, charge.at, charge.ending_before, until):
            yield span.held.starting_at, _charge(fees, charge, span.held)


def _charge(fees: Fees, charge: Charge, period: Period) -> Payable:
    product = fees.products[charge.product]
    exact = multiply(charge.amount, charge.quantity)
    line = Line(
        kind="fixed",
        product=product.key,
        name=product.name,
        group=(),
        period=period,
        quantity=charge.quantity,
        billed_quantity=charge.quantity,
        unit_amount=charge.amount,
        amount=round_amount(exact, fees.currency),
        amount_exact=exact,
        source=f"charge {charge.key} of the contract",
        rate=f"charge:{charge.key}",
    )
    return Payable(line, product)


def _purchases(fees: Fees) -> Iterator[tuple[datetime, Payable]]:
    for commit in (*fees.deal.commits, *fees.shared):
        for bill in commit.invoices if commit.kind == "prepaid" else ():
            line = _purchase(fees, commit.key, commit.name or commit.key, "", bill.amount, _day(fees, bill.at))
            yield bill.at, _of_customer(line) if isinstance(commit, SharedCommit) else line


def _of_customer(payable: Payable) -> Payable:
    """The purchase of a shared commit: a commit of the contract may have the same key."""
    key = payable.line.product
    line = replace(payable.line, source=f"commit {key} of the customer", rate=f"shared-commit:{key}")
    return replace(payable, line=line)


def _recurring_purchases(fees: Fees, until: datetime) -> Iterator[tuple[datetime, Payable]]:
    for commit in fees.deal.recurring_commits:
        for span in spans(commit.every, fees.calendar, commit.starting_at, commit.ending_before, until):
            amount = child_amount(commit, _billed(commit), span, fees.deal, fees.currency)
            line = _purchase(fees, commit.key, commit.name or commit.key, str(span.number), amount, span.held)
            yield span.held.starting_at, line


def _billed(commit: RecurringCommit) -> Decimal:
    return commit.amount if commit.invoice_amount is None else commit.invoice_amount


def _purchase(fees: Fees, key: str, name: str, segment: str, amount: Decimal, period: Period) -> Payable:
    line = Line(
        kind="commit_purchase",
        product=key,
        name=name,
        group=(),
        period=period,
        quantity=Decimal(1),
        billed_quantity=Decimal(1),
        unit_amount=amount,
        amount=round_amount(amount, fees.currency),
        amount_exact=amount,
        source=f"commit {key} of the contract",
        rate=f"commit:{key}",
        balance=key,
        segment=segment,
    )
    return Payable(line, ProductTerms(key, name, kind="commit"))


def _day(fees: Fees, at: datetime) -> Period:
    """The local day of an instant, from it on: the span of a fee that is for no period."""
    zone = fees.calendar.zone
    return Period(at, local_midnight(at.astimezone(zone).date() + timedelta(days=1), zone))
