"""Revenue: what a document means in the books, as entries that balance. Pure.

Amounts are in one currency; a posting above zero is a debit, below zero a credit, and an entry's postings add up to
zero. Usage is earned on its days, a fee over the days of its service, a prepaid commit as it is drawn. What is earned
by the day an invoice is issued passes through `unbilled`, what is earned later through `deferred_revenue`.

An entry sums up a month; beside it stands what each line earns on each day, which adds up to its postings.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

from catalog.money import ZERO, add, multiply, negate, round_amount, split, subtract
from meters.periods import Period, cut, local_midnight

RECEIVABLE, CASH, TAX = "receivable", "cash", "tax"
REVENUE, DEFERRED, UNBILLED = "revenue", "deferred_revenue", "unbilled"
# What free credits, and commits that cost less than they let one use, take off revenue.
CREDITS = "credits"
BAD_DEBT = "bad_debt"
# What is earned, and what takes off it: the accounts that are kept by line and day.
OF_REVENUE = (REVENUE, CREDITS)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Posting:
    """A debit (above zero) or credit (below) of an account; `balance` names the commit deferred revenue is for."""

    account: str
    amount: Decimal
    product: str = ""
    balance: str = ""


@dataclass(frozen=True, slots=True)
class Earned:
    """What a line (by its position; None: no line) earns on the days from `first_day` on, signed as postings are."""

    position: int | None
    account: str
    product: str
    balance: str
    first_day: date
    amounts: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened on a day. `part` tells the entries of one document apart; `earned` is what its postings of revenue
    and credits are made of.
    """

    day: date
    kind: str
    part: str
    postings: tuple[Posting, ...]
    earned: tuple[Earned, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A share of a line, in proportion to `weight`, and the day by which it is earned. `days` are the days of the share
    in order, each with its own weight; none: all of it is of that day.
    """

    day: date
    weight: Decimal
    days: tuple[tuple[date, Decimal], ...] = ()


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
    position: int | None = None


def days_of(period: Period, zone: ZoneInfo) -> list[tuple[date, Period]]:
    """A period cut at local midnights: each local day with the part of the period on it."""
    first, last = period.starting_at.astimezone(zone).date(), last_day(period, zone)
    midnights = [local_midnight(first + timedelta(days=each), zone) for each in range(1, (last - first).days + 1)]
    return [(part.starting_at.astimezone(zone).date(), part) for part in cut(period, midnights)]


def last_day(period: Period, zone: ZoneInfo) -> date:
    """The last local day of a period."""
    return (period.ending_before.astimezone(zone) - MICROSECOND).date()


def by_time(period: Period, zone: ZoneInfo) -> tuple[Part, ...]:
    """Earned evenly over the time of a period, in seconds."""
    return by_days((day, _seconds(part)) for day, part in days_of(period, zone))


def _seconds(part: Period) -> Decimal:
    return Decimal((part.ending_before - part.starting_at) // MICROSECOND).scaleb(-6)


def by_days(days: Iterable[tuple[date, Decimal]]) -> tuple[Part, ...]:
    """Earned in proportion to the weights of days, given in order without a gap: a part for each month, earned by the
    last of its days. A month without any is left out.
    """
    parts = []
    for _, month in groupby(days, key=lambda each: each[0].replace(day=1)):
        weights = tuple(month)
        total = add(weight for _, weight in weights)
        if total:
            parts.append(Part(weights[-1][0], total, weights))
    return tuple(parts)


def entries_of_invoice(lines: Sequence[BilledLine], issued_on: date, currency: str) -> list[Entry]:
    """The entries of an issued invoice: one for each day something is earned by, and the claim on the customer."""
    earned: dict[date, list[Earned]] = defaultdict(list)
    claim: list[Posting] = []
    for line in lines:
        if line.kind == "tax":
            claim.append(Posting(TAX, negate(line.amount), line.product))
        elif line.kind == "commit_purchase":
            claim.append(Posting(DEFERRED, negate(line.amount), line.product, line.balance))
        else:
            for day, share in _earned(line, currency):
                earned[day].append(share)
    entries = []
    for day in sorted(earned):
        account = UNBILLED if day <= issued_on else DEFERRED
        postings = _postings(earned[day])
        passing = negate(add(posting.amount for posting in postings))
        entries.append(
            _entry(day, "earned", f"earned:{day}", [*postings, Posting(account, passing)], earned[day]),
        )
        claim.append(Posting(account, negate(passing)))
    claim.append(Posting(RECEIVABLE, add(line.amount for line in lines)))
    return [entry for entry in (*entries, _entry(issued_on, "issued", "issued", claim)) if entry.postings]


def entries_of_credit_note(lines: Sequence[BilledLine], taxes: Mapping[str, Decimal], issued_on: date) -> list[Entry]:
    """What is credited of lines (amounts above zero) is no longer earned, or no longer deferred; `taxes` by the key of
    their rate are no longer owed.
    """
    earned = [
        Earned(
            line.position,
            DEFERRED if line.kind == "commit_purchase" else REVENUE,
            line.product,
            line.balance,
            issued_on,
            (line.amount,),
        )
        for line in lines
    ]
    postings = _postings(earned)
    postings += [Posting(TAX, tax, key) for key, tax in taxes.items()]
    postings.append(Posting(RECEIVABLE, negate(add(posting.amount for posting in postings))))
    return [_entry(issued_on, "credited", "issued", postings, earned)]


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
    earned = [Earned(None, REVENUE, "", balance, day, (negate(left),))]
    return _entry(day, "breakage", "breakage", [Posting(DEFERRED, left, "", balance), *_postings(earned)], earned)


def reversed_entry(entry: Entry, day: date, part: str) -> Entry:
    """The same entry the other way round; of the same kind, so that sums by kind come out even."""
    postings = tuple(Posting(each.account, negate(each.amount), each.product, each.balance) for each in entry.postings)
    # What it earned it takes back on the same days: over both they come out even.
    earned = tuple(replace(each, amounts=tuple(map(negate, each.amounts))) for each in entry.earned)
    return Entry(day, entry.kind, part, postings, earned)


def released_by(cost_basis: Decimal, drawn: Decimal, released: Decimal, currency: str) -> Decimal:
    """How much more of a commit's price is earned, when `drawn` of it is used in all and `released` was earned."""
    return subtract(round_amount(multiply(cost_basis, drawn), currency), released)


def _earned(line: BilledLine, currency: str) -> Iterator[tuple[date, Earned]]:
    amounts: Sequence[tuple[str, Decimal]]
    if line.kind == "draw":
        amounts = ((DEFERRED, line.released), (CREDITS, subtract(negate(line.amount), line.released)))
    else:
        amounts = ((REVENUE, negate(line.amount)),)
    for account, amount in amounts:
        # By month first: odd cents of a long line are not all its first month's.
        shares = split(amount, [part.weight for part in line.parts], currency)
        for part, share in zip(line.parts, shares, strict=True):
            if share:
                first_day, by_day = _on_days(part, share, currency)
                yield part.day, Earned(line.position, account, line.product, line.balance, first_day, by_day)


def _on_days(part: Part, share: Decimal, currency: str) -> tuple[date, tuple[Decimal, ...]]:
    """The first day with something of a share, and the amounts from it to the last one."""
    if not part.days:
        return part.day, (share,)
    shares = split(share, [weight for _, weight in part.days], currency)
    found = {day: amount for (day, _), amount in zip(part.days, shares, strict=True) if amount}
    first, last = min(found), max(found)
    return first, tuple(found.get(first + timedelta(days=each), ZERO) for each in range((last - first).days + 1))


def _postings(earned: Iterable[Earned]) -> list[Posting]:
    return [Posting(each.account, add(each.amounts), each.product, each.balance) for each in earned]


def _entry(day: date, kind: str, part: str, postings: Iterable[Posting], earned: Iterable[Earned] = ()) -> Entry:
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
        tuple(each for each in earned if each.account in OF_REVENUE),
    )
