"""How deferred revenue and unbilled usage moved, month by month. Pure.

Amounts are in one currency. Deferred revenue is shown as what is owed (above zero), unbilled as what is to be billed;
every movement is signed so that the start and the movements add up to the end.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from catalog.money import ZERO, add, negate
from invoicing.revenue import CREDITS, DEFERRED, REVENUE, UNBILLED

# What an account moved by: currency, month, account, kind of entry, amount (debits above zero).
Movement = tuple[str, date, str, str, Decimal]
# The kinds of entries that are no recognition.
OF_DEFERRED = {"issued": "billed", "credited": "credited", "breakage": "expired"}
OF_UNBILLED = {"issued": "invoiced", "accrual": "accrued"}


@dataclass(slots=True)
class Moved:
    """A month. Of deferred revenue: `billed`, `credited`, `recognised`, `expired`. Of unbilled: `earned`, `accrued` and
    taken back, `invoiced`. `revenue` is what the month earned, net of credits, from either and from what was drawn.
    """

    month: date
    deferred_start: Decimal = ZERO
    billed: Decimal = ZERO
    credited: Decimal = ZERO
    recognised: Decimal = ZERO
    expired: Decimal = ZERO
    unbilled_start: Decimal = ZERO
    earned: Decimal = ZERO
    accrued: Decimal = ZERO
    invoiced: Decimal = ZERO
    revenue: Decimal = ZERO

    @property
    def deferred_end(self) -> Decimal:
        return add([self.deferred_start, self.billed, self.credited, self.recognised, self.expired])

    @property
    def unbilled_end(self) -> Decimal:
        return add([self.unbilled_start, self.earned, self.accrued, self.invoiced])


@dataclass(frozen=True, slots=True)
class Waterfall:
    """`months` without a gap, oldest first."""

    currency: str
    months: list[Moved] = field(default_factory=list)

    def between(self, first: date, last: date) -> "Waterfall":
        return Waterfall(self.currency, [each for each in self.months if first <= each.month <= last])


def waterfalls(movements: Iterable[Movement], until: date) -> list[Waterfall]:
    """One for each currency, from its first month with a movement to its last, but at least to the month `until`."""
    by_currency: dict[str, dict[date, Moved]] = defaultdict(dict)
    for currency, month, account, kind, amount in movements:
        moved = by_currency[currency].setdefault(month, Moved(month))
        _count(moved, account, kind, amount)
    return [Waterfall(currency, _chained(moved, until)) for currency, moved in sorted(by_currency.items())]


def _count(moved: Moved, account: str, kind: str, amount: Decimal) -> None:
    if account == DEFERRED:
        name, amount = OF_DEFERRED.get(kind, "recognised"), negate(amount)
    elif account == UNBILLED:
        name = OF_UNBILLED.get(kind, "earned")
    elif account in (REVENUE, CREDITS):
        name, amount = "revenue", negate(amount)
    else:
        return
    setattr(moved, name, add([getattr(moved, name), amount]))


def _chained(by_month: dict[date, Moved], until: date) -> list[Moved]:
    month, last = min(by_month), max([*by_month, until])
    months: list[Moved] = []
    while month <= last:
        moved = by_month.get(month) or Moved(month)
        if months:
            moved.deferred_start, moved.unbilled_start = months[-1].deferred_end, months[-1].unbilled_end
        months.append(moved)
        month = (month + timedelta(days=32)).replace(day=1)
    return months


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Revenue by the month it was invoiced in (rows) and earned in (columns); `sums` by month earned."""

    currency: str
    earned: list[date]
    rows: list[tuple[date, list[Decimal]]]

    @property
    def sums(self) -> list[Decimal]:
        return [add(amounts[place] for _, amounts in self.rows) for place in range(len(self.earned))]


def cohorts(rows: Sequence[tuple[str, date, date, Decimal]], first: date, last: date) -> list[Cohorts]:
    """`rows`: currency, invoiced, earned, amount; the months earned run from `first` to `last`."""
    cells: dict[str, dict[date, dict[date, Decimal]]] = defaultdict(lambda: defaultdict(dict))
    for currency, invoiced, earned, amount in rows:
        if first <= earned <= last:
            cells[currency][invoiced][earned] = amount
    return [
        Cohorts(
            currency,
            months := sorted({earned for by_earned in found.values() for earned in by_earned}),
            [(invoiced, [found[invoiced].get(each, ZERO) for each in months]) for invoiced in sorted(found)],
        )
        for currency, found in sorted(cells.items())
    ]
