"""Revenue: what a document means in the books, as entries that balance. Pure.

Amounts are in one currency; a posting above zero is a debit, below zero a credit, and an entry's postings add up to
zero. Usage is earned on its days, a fee over the days of its service, a prepaid commit as it is drawn. What is earned
by the day an invoice is issued passes through `unbilled`, what is earned later through `deferred_revenue`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from catalog.money import ZERO, add, multiply, negate, round_amount, split, subtract
from meters.periods import Period, cut, local_midnight

RECEIVABLE, CASH, TAX = "receivable", "cash", "tax"
REVENUE, DEFERRED, UNBILLED = "revenue", "deferred_revenue", "unbilled"
# What free credits, and commits that cost less than they let one use, take off revenue.
CREDITS = "credits"
BAD_DEBT = "bad_debt"


@dataclass(frozen=True, slots=True)
class Posting:
    """A debit (above zero) or credit (below) of an account; `balance` names the commit deferred revenue is for."""

    account: str
    amount: Decimal
    product: str = ""
    balance: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened on a day. `part` tells the entries of one document apart."""

    day: date
    kind: str
    part: str
    postings: tuple[Posting, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a line, in proportion to `weight`, and the day by which it is earned."""

    day: date
    weight: Decimal


@dataclass(frozen=True, slots=True)
class BilledLine:
    """A line of a document. `parts` is when it is earned; `released` is how much of a draw was paid for before.
    `product` of a tax is the key of its rate.
    """

    kind: str
    product: str
    amount: Decimal
    parts: tuple[Part, ...]
    balance: str = ""
    released: Decimal = ZERO


def months_of(period: Period, zone: ZoneInfo) -> list[Period]:
    """A period cut at the local midnights on which months begin."""
    first = period.starting_at.astimezone(zone).date().replace(day=1)
    last = period.ending_before.astimezone(zone).date()
    starts = []
    while first <= last:
        starts.append(local_midnight(first, zone))
        first = (first + timedelta(days=32)).replace(day=1)
    return cut(period, starts)


def last_day(period: Period, zone: ZoneInfo) -> date:
    """The last local day of a period."""
    return (period.ending_before.astimezone(zone) - timedelta(microseconds=1)).date()


def by_time(period: Period, zone: ZoneInfo) -> tuple[Part, ...]:
    """Earned evenly over the time of a period."""
    return tuple(Part(last_day(month, zone), Decimal(month.seconds)) for month in months_of(period, zone))


def entries_of_invoice(lines: Sequence[BilledLine], issued_on: date, currency: str) -> list[Entry]:
    """The entries of an issued invoice: one for each day something is earned by, and the claim on the customer."""
    earned: dict[date, list[Posting]] = defaultdict(list)
    claim: list[Posting] = []
    for line in lines:
        if line.kind == "tax":
            claim.append(Posting(TAX, negate(line.amount), line.product))
        elif line.kind == "commit_purchase":
            claim.append(Posting(DEFERRED, negate(line.amount), line.product, line.balance))
        else:
            for day, posting in _earned(line, currency):
                earned[day].append(posting)
    entries = []
    for day in sorted(earned):
        account = UNBILLED if day <= issued_on else DEFERRED
        passing = negate(add(posting.amount for posting in earned[day]))
        entries.append(_entry(day, "earned", f"earned:{day}", [*earned[day], Posting(account, passing)]))
        claim.append(Posting(account, negate(passing)))
    claim.append(Posting(RECEIVABLE, add(line.amount for line in lines)))
    return [entry for entry in (*entries, _entry(issued_on, "issued", "issued", claim)) if entry.postings]


def entries_of_credit_note(lines: Sequence[BilledLine], taxes: Mapping[str, Decimal], issued_on: date) -> list[Entry]:
    """What is credited of lines (amounts above zero) is no longer earned, or no longer deferred; `taxes` by the key of
    their rate are no longer owed.
    """
    postings = [
        Posting(DEFERRED if line.kind == "commit_purchase" else REVENUE, line.amount, line.product, line.balance)
        for line in lines
    ]
    postings += [Posting(TAX, tax, key) for key, tax in taxes.items()]
    postings.append(Posting(RECEIVABLE, negate(add(posting.amount for posting in postings))))
    return [_entry(issued_on, "credited", "issued", postings)]


def entry_of_payment(amount: Decimal, day: date, *, written_off: bool) -> Entry:
    """Money that came in, or went back (below zero); of an invoice that was written off it is earned after all."""
    return _entry(
        day,
        "payment",
        "payment",
        [Posting(CASH, amount), Posting(BAD_DEBT if written_off else RECEIVABLE, negate(amount))],
    )


def entry_of_write_off(amount: Decimal, day: date) -> Entry:
    return _entry(day, "write_off", "write_off", [Posting(BAD_DEBT, amount), Posting(RECEIVABLE, negate(amount))])


def entry_of_breakage(left: Decimal, balance: str, day: date) -> Entry:
    """What is left of a commit's price when it can no longer be used is earned."""
    return _entry(
        day, "breakage", "breakage", [Posting(DEFERRED, left, "", balance), Posting(REVENUE, negate(left), "", balance)]
    )


def reversed_entry(entry: Entry, day: date, part: str) -> Entry:
    """The same entry the other way round; of the same kind, so that sums by kind come out even."""
    postings = tuple(Posting(each.account, negate(each.amount), each.product, each.balance) for each in entry.postings)
    return Entry(day, entry.kind, part, postings)


def released_by(cost_basis: Decimal, drawn: Decimal, released: Decimal, currency: str) -> Decimal:
    """How much more of a commit's price is earned, when `drawn` of it is used in all and `released` was earned."""
    return subtract(round_amount(multiply(cost_basis, drawn), currency), released)


def _earned(line: BilledLine, currency: str) -> Iterable[tuple[date, Posting]]:
    amounts: Sequence[tuple[str, Decimal]]
    if line.kind == "draw":
        amounts = ((DEFERRED, line.released), (CREDITS, subtract(negate(line.amount), line.released)))
    else:
        amounts = ((REVENUE, negate(line.amount)),)
    for account, amount in amounts:
        shares = split(amount, [part.weight for part in line.parts], currency)
        for part, share in zip(line.parts, shares, strict=True):
            yield part.day, Posting(account, share, line.product, line.balance)


def _entry(day: date, kind: str, part: str, postings: Iterable[Posting]) -> Entry:
    """An entry with one posting for each account, product and commit; those of nothing are left out."""
    sums: dict[tuple[str, str, str], list[Decimal]] = defaultdict(list)
    for each in postings:
        sums[each.account, each.product, each.balance].append(each.amount)
    totals = {place: add(amounts) for place, amounts in sums.items()}
    return Entry(
        day,
        kind,
        part,
        tuple(
            Posting(account, total, product, balance) for (account, product, balance), total in totals.items() if total
        ),
    )
