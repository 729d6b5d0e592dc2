"""Months of raw events leave as files and come back; usage, identities and late events meanwhile."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from billing_project.errors import ConflictError
from meters import partitions
from meters.archive import drop, export, months_before, restore, verify
from meters.archived import ArchivedError
from meters.events_behind import events_behind
from meters.ingest import ingest_events
from meters.models import Event, EventArchive, Meter, RejectedEvent
from meters.periods import Period
from meters.recount import find_drift
from meters.replay import replay
from meters.usage_statement import UsageRequest
from tests.meters.making import JANUARY, at, event, make_meter, rolled, usage

pytestmark = pytest.mark.usefixtures("committed", "empty_months")
MONTH = JANUARY.starting_at
TOTAL = {(): (Decimal("7.25"), 3)}


@pytest.fixture
def empty_months(committed: None) -> Iterator[None]:
    yield
    EventArchive.objects.all().delete()
    partitions.forget()


@pytest.fixture
def meter() -> Meter:
    meter = make_meter()
    ingest_events(
        [
            event("1", "2026-01-05T10:00:00", tokens=5),
            event("2", "2026-01-31T23:59:59.999999", tokens="2.25", note="ü\n"),
            event("3", "2026-01-01T00:00:00", customer="beta", tokens=1),
            event("4", "2026-02-01T00:00:00", tokens=100),
            event("5", "2026-01-07T00:00:00", tokens=0),
        ]
    )
    rolled()
    return meter


def archived(place: Path) -> EventArchive:
    archive = export(MONTH, str(place))
    drop(archive)
    return archive


def test_a_month_leaves_and_comes_back(meter: Meter, tmp_path: Path) -> None:
    before = list(Event.objects.order_by("time").values_list("key", "time", "seq", "properties"))
    assert usage(meter) == TOTAL
    archive = archived(tmp_path)
    assert archive.by_type == {"llm": {"events": 4, "sums": {"tokens": "6"}}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events-2026-01.json", "events-2026-01.parquet"]
    assert Event.objects.count() == 1
    assert usage(meter) == TOTAL
    assert find_drift() == []
    assert restore(archive)
    assert not restore(archive)
    assert list(Event.objects.order_by("time").values_list("key", "time", "seq", "properties")) == before
    rolled()
    assert usage(meter) == TOTAL
    assert find_drift() == []
    assert ingest_events([event("1", "2026-01-05T10:00:00", tokens=5)]).duplicates == 1


def test_events_that_come_for_it_wait_to_be_replayed(meter: Meter, tmp_path: Path) -> None:
    archive = archived(tmp_path)
    late = [event("6", "2026-01-09T00:00:00", tokens="0.10"), event("7", "2026-02-09T00:00:00", tokens=1)]
    result = ingest_events([*late, event("1", "2026-01-05T10:00:00", tokens=5)])
    assert (result.accepted, result.duplicates, result.archived) == (1, 0, (0, 2))
    assert usage(meter) == TOTAL
    assert set(RejectedEvent.objects.values_list("code", flat=True)) == {"archived"}
    assert replay(RejectedEvent.objects.all(), by="ann", now=at("2026-03-01")).refused == 2
    restore(archive)
    assert replay(RejectedEvent.objects.all(), by="ann", now=at("2026-03-01")).sentence == "1 counted, 1 counted before"
    assert usage(meter) == {(): (Decimal("7.35"), 4)}


def test_a_process_that_has_not_heard_of_it_finds_out(meter: Meter, tmp_path: Path) -> None:
    archived(tmp_path)
    partitions.forget()
    partitions.dropped_months()
    partitions._known.add(MONTH)
    partitions._dropped = (partitions._dropped[0], frozenset())
    assert ingest_events([event("6", "2026-01-09T00:00:00")]).archived == (0,)


def test_what_only_events_could_answer_is_refused(meter: Meter, tmp_path: Path) -> None:
    archive = archived(tmp_path)
    ragged = Period(at("2026-01-05T10:30:00"), at("2026-01-06"))
    with pytest.raises(ArchivedError, match="restore_events 2026-01"):
        usage(meter, period=ragged)
    new = make_meter("max")
    rolled()
    with pytest.raises(ArchivedError):
        usage(new)
    assert usage(make_meter("count", "", event_types=["image"])) == {}
    assert events_behind(UsageRequest(1, meter, ("acme",), JANUARY)) == []
    restore(archive)
    assert usage(meter, period=ragged) == {}
    assert usage(new) == {(): (Decimal(5), 3)}
    rolled()
    assert usage(Meter.objects.get(pk=new.pk)) == {(): (Decimal(5), 3)}
    assert find_drift() == []


def test_nothing_is_dropped_that_the_file_does_not_hold(meter: Meter, tmp_path: Path) -> None:
    archive = export(MONTH, str(tmp_path))
    ingest_events([event("6", "2026-01-09T00:00:00", tokens=1)])
    rolled()
    with pytest.raises(ConflictError, match="5 events instead of 4"):
        drop(archive)
    file = tmp_path / archive.file
    other = tmp_path / "other"
    archive = export(MONTH, str(other))
    file.write_bytes((other / archive.file).read_bytes())
    ingest_events([event("8", "2026-01-10T00:00:00", tokens=1)])
    with pytest.raises(ConflictError, match="not counted yet"):
        export(MONTH, str(tmp_path))
    assert Event.objects.count() == 7


def test_a_changed_file_is_noticed(meter: Meter, tmp_path: Path) -> None:
    archive = export(MONTH, str(tmp_path))
    verify(archive)
    february = export(at("2026-02-01"), str(tmp_path))
    (tmp_path / archive.file).write_bytes((tmp_path / february.file).read_bytes())
    with pytest.raises(ConflictError, match="1 events instead of 4"):
        drop(archive)
    assert Event.objects.count() == 5


def test_the_commands(meter: Meter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Other tests may have left partitions of their own months.
    ended = months_before(at("2026-02-15"))
    assert ended[-1] == MONTH
    assert ended == sorted(ended)
    call_command("archive_events", before="2026-02-01", to=str(tmp_path), drop=True)
    call_command("archive_events", before="2026-02-01", verify=True)
    call_command("restore_events", "2026-01")
    call_command("restore_events", "2026-01")
    said = capsys.readouterr().out
    for text in (
        "January 2026: 4 events in",
        "verified and dropped",
        "what was recorded",
        "4 events restored",
        "there",
    ):
        assert text in said
    for arguments, message in (
        ({"to": str(tmp_path)}, "kept for ever"),
        ({"before": "soon"}, "no date"),
        ({"before": "2026-02-01"}, "Give --to"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command("archive_events", **arguments)
    with pytest.raises(CommandError, match="not archived"):
        call_command("restore_events", "2025-01")
