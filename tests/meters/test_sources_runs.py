"""Sources read by schedule, each by one process at a time."""

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from meters.models import EventSource, ImportRun
from meters.sources.imports import digest_of
from meters.sources.runs import reading_of
from tests.meters.files import HEADER, elsewhere, make_source, rows_of

pytestmark = pytest.mark.usefixtures("committed")


def run(*args: str) -> str:
    out = StringIO()
    call_command("import_events", *args, stdout=out, stderr=StringIO())
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"every_minutes": 0}, "every_minutes"),
        ({"properties": {"a": 0.5}}, "properties"),
        ({"properties": {"a": True}}, "properties"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"type_column": "t"}, "type_column"),
        ({"customer": "a", "customer_column": "b"}, "customer_column"),
        ({"source_name": "a", "source_column": "b"}, "source_column"),
        ({"id_column": "a", "id_from_row": True}, "id_column"),
        ({"place": "relative"}, "place"),
        ({"place": "/etc/passwd"}, "place"),
    ],
)
def test_what_a_source_cannot_be(folder: Path, change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make_source(folder, **change)
    assert set(caught.value.message_dict) == {field}


def test_a_place_that_is_no_longer_allowed_is_not_read(folder: Path, settings: Settings) -> None:
    inside = folder / "inside"
    inside.mkdir()
    settings.EVENT_SOURCE_FOLDERS = [str(inside)]
    source = EventSource(key="k", name="n", place=str(folder))
    source.save()
    with pytest.raises(CommandError, match="Not everything could be read"):
        run("--source", "k")
    assert "lies outside the folders" in ImportRun.objects.get().message


def test_sources_are_read_when_their_time_has_come(folder: Path) -> None:
    make_source(folder, every_minutes=60)
    make_source(folder, key="by-hand")
    assert "3 events are new" in run("--due")
    assert run("--due") == ""
    source = EventSource.objects.get(key="gateway")
    assert source.next_at
    assert timedelta(minutes=59) < source.next_at - timezone.now() < timedelta(minutes=60)
    EventSource.objects.filter(key="gateway").update(next_at=timezone.now())
    (folder / "b.csv").write_text(HEADER + rows_of(2, 3))
    assert "2 events are new, 0 were there before, 0 in conflict, 0 rejected; 1 files read, 1 known" in run("--due")
    assert list(ImportRun.objects.values_list("started_by", flat=True)) == ["schedule", "schedule"]


def test_a_failing_source_keeps_no_other_from_being_read(folder: Path) -> None:
    make_source(folder, key="a", event_type="", every_minutes=1)
    make_source(folder, key="b", every_minutes=1)
    with pytest.raises(CommandError, match="Not everything could be read"):
        run("--due")
    assert dict(ImportRun.objects.values_list("source__key", "state")) == {"a": "failed", "b": "done"}
    assert run("--due") == ""


def test_two_machines_never_read_the_same_source(folder: Path) -> None:
    source = make_source(folder, every_minutes=60)
    with elsewhere("event-source", source.pk):
        assert run("--due") == ""
        with pytest.raises(CommandError, match="a run is under way"):
            run("--source", "gateway")
    assert not ImportRun.objects.exists()
    assert "3 events are new" in run("--due")


def test_a_file_being_read_elsewhere_is_left_to_the_other(folder: Path) -> None:
    source = make_source(folder)
    with elsewhere("import-file", digest_of(str(folder / "a.csv"), reading_of(source))):
        assert "0 files read, 1 known" in run("--source", "gateway")
    assert "another run is reading it" in ImportRun.objects.get().message


def test_a_dead_run_is_seen_by_the_next_one(folder: Path) -> None:
    source = make_source(folder)
    dead = ImportRun.objects.create(place=source.place, source=source)
    alive = ImportRun.objects.create(place=source.place, source=source)
    with elsewhere("import-run", alive.pk):
        run("--source", "gateway")
    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.state, alive.state) == ("stopped", "running")
    assert dead.ended_at
