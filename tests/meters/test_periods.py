"""Billing calendars: anchors, short periods, the 31st, clock changes."""

from datetime import UTC, date, datetime
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meters.periods import CALENDAR_ANCHOR, EVERY, Period, billing_periods, boundary, cut, local_midnight

BERLIN = ZoneInfo("Europe/Berlin")
UTC_ZONE = ZoneInfo("UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def periods(every: str, anchor: date, zone: ZoneInfo, start: str, end: str | None, until: str) -> list[tuple[str, str]]:
    found = billing_periods(every, anchor, zone, at(start), at(end) if end else None, at(until))
    return [(p.starting_at.isoformat()[:16], p.ending_before.isoformat()[:16]) for p in found]


def test_calendar_months_start_short_and_end_short() -> None:
    assert periods("month", CALENDAR_ANCHOR, UTC_ZONE, "2026-01-10T14:20", "2026-03-05T00:00", "2027-01-01") == [
        ("2026-01-10T14:20", "2026-02-01T00:00"),
        ("2026-02-01T00:00", "2026-03-01T00:00"),
        ("2026-03-01T00:00", "2026-03-05T00:00"),
    ]


def test_the_31st_is_clamped_and_restored() -> None:
    assert [boundary("month", date(2026, 1, 31), n).isoformat() for n in range(5)] == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
    ]
    assert boundary("year", date(2024, 2, 29), 1) == date(2025, 2, 28)
    assert boundary("year", date(2024, 2, 29), 4) == date(2028, 2, 29)


def test_periods_end_at_local_midnight_across_a_clock_change() -> None:
    assert periods("month", CALENDAR_ANCHOR, BERLIN, "2026-02-28T23:00", None, "2026-04-15") == [
        ("2026-02-28T23:00", "2026-03-31T22:00"),
        ("2026-03-31T22:00", "2026-04-30T22:00"),
    ]


def test_a_skipped_midnight_is_the_clock_change_itself() -> None:
    assert local_midnight(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo")) == at("2018-11-04T03:00")


@pytest.mark.parametrize(
    ("every", "first", "second"),
    [
        ("day", "2026-05-14T00:00", "2026-05-15T00:00"),
        ("week", "2026-05-18T00:00", "2026-05-25T00:00"),
        ("quarter", "2026-07-01T00:00", "2026-10-01T00:00"),
        ("year", "2027-01-01T00:00", "2028-01-01T00:00"),
    ],
)
def test_calendar_anchors(every: str, first: str, second: str) -> None:
    found = billing_periods(every, CALENDAR_ANCHOR, UTC_ZONE, at("2026-05-13T12:00"), None, at("2030-01-01"))
    assert [p.ending_before.isoformat()[:16] for p in islice(found, 2)] == [first, second]


@given(
    st.sampled_from(EVERY),
    st.dates(date(2000, 1, 1), date(2040, 12, 31)),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]
    ),
    st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware in the test
)
def test_periods_follow_each_other_without_gap_or_overlap(every: str, anchor: date, zone: str, start: datetime) -> None:
    start = start.replace(tzinfo=UTC)
    found = list(
        islice(billing_periods(every, anchor, ZoneInfo(zone), start, None, datetime(2045, 1, 1, tzinfo=UTC)), 30)
    )
    assert found[0].starting_at == start
    assert all(a.ending_before == b.starting_at for a, b in pairwise(found))


def test_a_cut_ignores_what_is_outside() -> None:
    whole = Period(at("2026-01-01"), at("2026-02-01"))
    parts = cut(whole, [at("2026-01-10"), None, at("2025-12-01"), at("2026-01-10"), at("2026-02-01")])
    assert parts == [Period(at("2026-01-01"), at("2026-01-10")), Period(at("2026-01-10"), at("2026-02-01"))]


def test_a_period_must_have_a_zone_and_a_length() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Period(datetime(2026, 1, 1), datetime(2026, 2, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="end after"):
        Period(at("2026-01-01"), at("2026-01-01"))
