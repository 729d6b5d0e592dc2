"""Scheduled fees that are due and on no invoice yet: subscriptions in advance, charges, commit purchases."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from contracts.lines import Line
from contracts.models import Contract
from contracts.scheduled import Due, scheduled_fees
from invoicing.inputs import Terms
from invoicing.models import InvoiceLine, Status

FeeKey = tuple[str, ...]
# Their balance is what is bought; on other lines it is what happened to pay.
BUYING = frozenset({"commit_purchase"})
HORIZON = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class DueFees:
    """The fees of one contract that fall due at one instant."""

    contract: Contract
    at: datetime
    due: Due


def due_fees(
    terms: Terms, contracts: Iterable[Contract], as_of: datetime, leaving_out: Collection[int] = ()
) -> list[DueFees]:
    """Every fee due by `as_of` that no invoice has, by contract and instant.

    A fee is known by what it is for (`fee_key`), so one that was agreed late is still found. Invoices named in
    `leaving_out` count as not written.
    """
    contracts = list(contracts)
    billed = _billed(contracts, leaving_out)
    found: list[DueFees] = []
    for contract in contracts:
        for at, due in scheduled_fees(terms.fees(contract), None, as_of).items():
            charges = [each for each in due.charges if _key_of(each.line) not in billed[contract.pk]]
            if charges or due.unrated:
                found.append(DueFees(contract, at, Due(charges, due.unrated)))
    return found


def next_fees_at(terms: Terms, contract: Contract, as_of: datetime) -> datetime | None:
    """The next instant after `as_of` at which a fee falls due; a later look if none does for long; None if none can."""
    horizon = as_of + HORIZON
    coming = scheduled_fees(terms.fees(contract), as_of, horizon)
    if coming:
        return min(coming)
    over = contract.ending_before is not None and contract.ending_before <= horizon
    return None if over else horizon


def _billed(contracts: Sequence[Contract], leaving_out: Collection[int]) -> Mapping[int, set[FeeKey]]:
    saved = [contract.pk for contract in contracts if contract.pk]
    lines = InvoiceLine.objects.filter(invoice__contract__in=saved, invoice__kind="scheduled")
    lines = lines.exclude(invoice__status=Status.VOID).exclude(invoice__in=leaving_out)
    billed: dict[int, set[FeeKey]] = defaultdict(set)
    names = ("kind", "rate", "balance", "segment", "subscription", "product", "starting_at")
    for row in lines.values("invoice__contract", *names):
        billed[row["invoice__contract"]].add(_key(*(row[name] for name in names)))
    return billed


def _key_of(line: Line) -> FeeKey:
    return _key(
        line.kind, line.rate, line.balance or "", line.segment, line.subscription, line.product, line.period.starting_at
    )


def _key(*parts: Any) -> FeeKey:
    """A subscription's fee is the same one at whatever rate; anything else is told apart by where it was agreed."""
    kind, rate, balance, segment, subscription, product, starting_at = parts
    if kind not in BUYING:
        balance = segment = ""
    return (kind, "" if subscription else rate, balance, segment, subscription, product, starting_at.isoformat())
