"""What documents mean in the books: worked examples, and that every entry balances."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from billing_project.decimals import plain
from catalog.money import add
from invoicing.revenue import (
    BAD_DEBT,
    CASH,
    CREDITS,
    DEFERRED,
    RECEIVABLE,
    REVENUE,
    TAX,
    UNBILLED,
    BilledLine,
    Earned,
    Entry,
    Part,
    Posting,
    by_days,
    by_time,
    entries_of_credit_note,
    entries_of_invoice,
    entry_of_breakage,
    entry_of_payment,
    entry_of_write_off,
    released_by,
    reversed_entry,
)
from meters.periods import Period

BERLIN = ZoneInfo("Europe/Berlin")


def instant(year: int, month: int, number: int) -> datetime:
    return datetime(year, month, number, tzinfo=UTC)


def shown(entries: list[Entry]) -> list[tuple[str, dict[str, str]]]:
    """Day and postings by account, as text."""
    return [
        (str(entry.day), {posting.account: plain(posting.amount) for posting in entry.postings}) for entry in entries
    ]


JANUARY = by_time(Period(instant(2026, 1, 1), instant(2026, 2, 1)), ZoneInfo("UTC"))


def test_usage_is_earned_on_its_days_and_claimed_when_invoiced() -> None:
    """100.00 of January with 19% tax, invoiced on 3 February."""
    lines = [
        BilledLine("usage", "tokens", Decimal(100), JANUARY),
        BilledLine("tax", "", Decimal(19), ()),
    ]
    assert shown(entries_of_invoice(lines, date(2026, 2, 3), "USD")) == [
        ("2026-01-31", {REVENUE: "-100", UNBILLED: "100"}),
        ("2026-02-03", {TAX: "-19", UNBILLED: "-100", RECEIVABLE: "119"}),
    ]


def test_a_fee_in_advance_is_earned_month_by_month() -> None:
    """90.00 for the first quarter, 31 + 28 + 31 days, invoiced on its first day: 31.00, 28.00, 31.00."""
    quarter = by_time(Period(instant(2026, 1, 1), instant(2026, 4, 1)), ZoneInfo("UTC"))
    assert shown(
        entries_of_invoice([BilledLine("subscription", "seat", Decimal(90), quarter)], date(2026, 1, 1), "USD")
    ) == [
        ("2026-01-31", {REVENUE: "-31", DEFERRED: "31"}),
        ("2026-02-28", {REVENUE: "-28", DEFERRED: "28"}),
        ("2026-03-31", {REVENUE: "-31", DEFERRED: "31"}),
        ("2026-01-01", {DEFERRED: "-90", RECEIVABLE: "90"}),
    ]


def test_months_begin_at_local_midnight() -> None:
    """23:00 UTC on 31 January is February in Berlin."""
    parts = by_time(Period(instant(2026, 1, 31), instant(2026, 2, 2)), BERLIN)
    assert [(part.day, part.weight / 3600) for part in parts] == [
        (date(2026, 1, 31), Decimal(23)),
        (date(2026, 2, 2), Decimal(25)),
    ]


def test_a_commit_is_earned_as_it_is_drawn_at_what_it_cost() -> None:
    """10,000 of usage bought for 8,000; 1,000 of usage drawn: 800 is earned, 200 is what the discount takes off."""
    bought = entries_of_invoice(
        [BilledLine("commit_purchase", "", Decimal(8000), (), "y1")],
        date(2026, 1, 1),
        "USD",
    )
    assert shown(bought) == [("2026-01-01", {DEFERRED: "-8000", RECEIVABLE: "8000"})]
    released = released_by(Decimal("0.8"), Decimal(1000), Decimal(0), "USD")
    drawn = entries_of_invoice(
        [
            BilledLine("usage", "tokens", Decimal(1000), JANUARY),
            BilledLine("draw", "tokens", Decimal(-1000), JANUARY, "y1", released),
        ],
        date(2026, 2, 3),
        "USD",
    )
    # The customer owes nothing: the entry of the invoice itself is empty.
    assert shown(drawn) == [("2026-01-31", {REVENUE: "-1000", DEFERRED: "800", CREDITS: "200"})]
    left = entry_of_breakage(Decimal(7200), "y1", date(2026, 12, 31))
    assert shown([left]) == [("2026-12-31", {DEFERRED: "7200", REVENUE: "-7200"})]


def test_released_amounts_add_up_to_the_price() -> None:
    """100 bought for 33.33, drawn in three parts: 11.11 each, and 33.33 when all is drawn."""
    released = Decimal(0)
    for drawn in (Decimal("33.34"), Decimal("66.67"), Decimal(100)):
        released += released_by(Decimal("0.3333"), drawn, released, "USD")
    assert released == Decimal("33.33")


def test_payments_write_offs_and_what_comes_in_after_all() -> None:
    assert shown([entry_of_payment(Decimal(5), date(2026, 2, 9), written_off=False)]) == [
        ("2026-02-09", {CASH: "5", RECEIVABLE: "-5"})
    ]
    assert shown([entry_of_write_off(Decimal(5), date(2026, 2, 9))]) == [
        ("2026-02-09", {BAD_DEBT: "5", RECEIVABLE: "-5"})
    ]
    assert shown([entry_of_payment(Decimal(5), date(2026, 2, 9), written_off=True)]) == [
        ("2026-02-09", {CASH: "5", BAD_DEBT: "-5"})
    ]


def test_a_credit_note_takes_revenue_and_tax_back() -> None:
    lines = [
        BilledLine("usage", "tokens", Decimal(10), ()),
        BilledLine("commit_purchase", "", Decimal(20), (), "y1"),
    ]
    assert shown(entries_of_credit_note(lines, {"": Decimal("5.70")}, date(2026, 3, 1))) == [
        ("2026-03-01", {REVENUE: "10", DEFERRED: "20", TAX: "5.7", RECEIVABLE: "-35.7"})
    ]


def test_what_is_earned_taken_back() -> None:
    lines = [BilledLine("usage", "a", Decimal(3), JANUARY), BilledLine("usage", "b", Decimal(4), JANUARY)]
    earned, _ = entries_of_invoice(lines, date(2026, 2, 3), "USD")
    back = reversed_entry(earned, date(2026, 2, 1), "back")
    assert [(each.account, each.product, each.amount) for each in back.postings] == [
        (REVENUE, "a", Decimal(3)),
        (REVENUE, "b", Decimal(4)),
        (UNBILLED, "", Decimal(-7)),
    ]


cents = st.integers(-(10**7), 10**7).map(lambda cents: Decimal(cents) / 100)
days = st.dates(date(2025, 1, 1), date(2027, 12, 31))
weights = st.integers(1, 10**6).map(Decimal)
of_days = st.lists(st.tuples(days, weights), max_size=5, unique_by=lambda each: each[0]).map(
    lambda each: tuple(sorted(each))
)
parts = st.lists(st.builds(Part, days, weights, of_days), min_size=1, max_size=5).map(tuple)
lines = st.lists(
    st.builds(
        BilledLine,
        st.sampled_from(["usage", "subscription", "discount", "draw", "tax", "commit_purchase", "true_up", "manual"]),
        st.sampled_from(["a", "b"]),
        cents,
        parts,
        st.sampled_from(["", "y1"]),
        cents,
    ),
    max_size=8,
)


def by_place(earned: Iterable[Earned]) -> dict[tuple[str, str, str], Decimal]:
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for each in earned:
        sums[each.account, each.product, each.balance] += add(each.amounts)
    return {place: total for place, total in sums.items() if total}


def test_a_share_is_spread_over_its_days() -> None:
    """1.00 by the weights 1, 0, 2 of three days of January, and by 1 on 2 February: 0.75 and 0.25, then by days."""
    parts = by_days(
        [
            (date(2026, 1, 29), Decimal(1)),
            (date(2026, 1, 30), Decimal(0)),
            (date(2026, 1, 31), Decimal(2)),
            (date(2026, 2, 1), Decimal(0)),
            (date(2026, 2, 2), Decimal(1)),
        ]
    )
    line = BilledLine("usage", "tokens", Decimal(1), parts, position=3)
    january, february, _ = entries_of_invoice([line], date(2026, 2, 3), "USD")
    assert january.earned == (
        Earned(3, REVENUE, "tokens", "", date(2026, 1, 29), (Decimal("-0.25"), Decimal(0), Decimal("-0.50"))),
    )
    assert (february.day, february.earned) == (
        date(2026, 2, 2),
        (Earned(3, REVENUE, "tokens", "", date(2026, 2, 2), (Decimal("-0.25"),)),),
    )


def test_a_day_with_a_clock_change_weighs_less() -> None:
    (march,) = by_time(Period(instant(2026, 3, 28), instant(2026, 3, 30)), BERLIN)
    hours = [(day.day, int(seconds / 3600)) for day, seconds in march.days]
    assert hours == [(28, 23), (29, 23), (30, 2)]


@given(lines, days)
def test_every_entry_balances_and_everything_is_accounted_for(lines: list[BilledLine], issued_on: date) -> None:
    entries = entries_of_invoice(lines, issued_on, "USD")
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        assert add(posting.amount for posting in entry.postings) == 0
        assert all(posting.amount for posting in entry.postings)
        for posting in entry.postings:
            sums[posting.account] += posting.amount
        assert by_place(entry.earned) == {
            (each.account, each.product, each.balance): each.amount
            for each in entry.postings
            if each.account in (REVENUE, CREDITS)
        }
    assert sums[RECEIVABLE] == add(line.amount for line in lines)
    assert sums[UNBILLED] == 0
    released = add(line.released for line in lines if line.kind == "draw")
    bought = add(line.amount for line in lines if line.kind == "commit_purchase")
    assert sums[DEFERRED] == released - bought
    earned = add(line.amount for line in lines if line.kind not in ("tax", "commit_purchase", "draw"))
    assert sums[REVENUE] == -earned


@given(lines, days)
def test_a_reversal_undoes_an_invoice(lines: list[BilledLine], issued_on: date) -> None:
    entries = entries_of_invoice(lines, issued_on, "USD")
    both = [*entries, *(reversed_entry(entry, issued_on, "void") for entry in entries)]
    sums: dict[Posting, Decimal] = defaultdict(Decimal)
    for posting in (posting for entry in both for posting in entry.postings):
        sums[Posting(posting.account, Decimal(0), posting.product, posting.balance)] += posting.amount
    assert not any(sums.values())
