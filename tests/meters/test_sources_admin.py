"""Event sources: made, tried and run in the admin, read by schedule, each by one process at a time."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command, load_command_class
from django.test import Client
from django.urls import reverse

from meters.models import Event, EventSource, ImportRun
from meters.sources import background
from meters.sources.runs import run_source
from tests.meters.files import elsewhere, make_source, quiet

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("ann"))
    return client


def form(folder: Path, **more: Any) -> dict[str, Any]:
    runs = {"runs-TOTAL_FORMS": 0, "runs-INITIAL_FORMS": 0}
    given = {"key": "gateway", "name": "Gateway", "place": str(folder), "file_format": "auto", "time_format": "iso"}
    written = {"joined_columns": "{}", "skipped_lines": 0, "encoding": "utf-8", "decimal_sign": "."}
    return {**given, "timezone": "UTC", "event_type": "llm", "properties": "{}", **written, **runs, **more}


def test_made_tried_and_run_without_code(admin: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = reverse("admin:meters_eventsource_add")
    asked = form(folder, every_minutes=60, skipped_columns="a, b", properties='{"region": "eu"}', _continue="1")
    refused = admin.post(add, {**asked, "place": "/etc", "timezone": "Mars"})
    assert "Folders on the server must lie below one of these" in refused.content.decode()
    assert "There is no such time zone" in refused.content.decode()
    assert admin.post(add, asked).status_code == 302
    source = EventSource.objects.get()
    assert source.skipped_columns == ["a", "b"]
    assert source.next_at is not None

    page = admin.get(reverse("admin:meters_eventsource_first_rows", args=[source.pk]), follow=True)
    assert "Columns &quot;a&quot;, &quot;b&quot; are missing from the file" in page.content.decode()
    change = reverse("admin:meters_eventsource_change", args=[source.pk])
    assert (
        admin.post(
            change, form(folder, every_minutes=60, skipped_columns="", properties='{"region": "eu"}')
        ).status_code
        == 302
    )
    shown = admin.get(reverse("admin:meters_eventsource_first_rows", args=[source.pk])).content.decode()
    for text in ("2026-01-05 00:00:01.000000", "<th", "region", "The row has 1 cells, the header 4.", "1 file,"):
        assert text in shown
    assert not Event.objects.exists()

    def at_once(command: list[str], **_: Any) -> None:
        assert command[:2] == [sys.executable, str(settings.BASE_DIR / "manage.py")]
        call_command(*command[2:], stdout=StringIO(), stderr=StringIO())

    monkeypatch.setattr(background.subprocess, "Popen", at_once)  # type: ignore[attr-defined]
    admin.post(reverse("admin:meters_eventsource_run_now", args=[source.pk]), {"_form_submitted": "on"})
    made = ImportRun.objects.get()
    assert (made.state, made.started_by, made.accepted, made.rejected) == ("done", "ann", 3, 1)
    history = admin.get(change).content.decode()
    assert reverse("admin:meters_importrun_change", args=[made.pk]) in history
    assert "3 / 0 / 0 / 1" in admin.get(reverse("admin:meters_eventsource_changelist")).content.decode()
    page = admin.get(reverse("admin:meters_importrun_change", args=[made.pk]))
    assert str(folder / "a.csv") in page.content.decode()
    assert admin.get(reverse("admin:meters_importrun_changelist")).status_code == 200


def test_patterns_of_time_and_nested_names_without_code(admin: Client, folder: Path) -> None:
    (folder / "a.csv").unlink()
    row = {"request": {"id": "r1", "at": "01/31/2026 23:59:58"}, "account": {"key": "acme"}, "tokens": 7}
    (folder / "a.jsonl").write_text(json.dumps(row))
    asked = form(
        folder,
        time_column="request.at",
        id_column="request.id",
        customer_column="account.key",
        timezone="Europe/Berlin",
    )
    add = reverse("admin:meters_eventsource_add")
    for pattern in ("%H:%M", "%m/%d/%Y %Z", "seconds", ""):
        assert "time_format" in admin.post(add, {**asked, "time_format": pattern}).context["adminform"].errors
    assert admin.post(add, {**asked, "time_format": "%m/%d/%Y %H:%M:%S"}).status_code == 302
    source = EventSource.objects.get()
    shown = admin.get(reverse("admin:meters_eventsource_first_rows", args=[source.pk])).content.decode()
    for text in ("2026-01-31 22:59:58.000000", "r1", "acme", "tokens", "{&quot;key&quot;: &quot;acme&quot;}"):
        assert text in shown
    run = run_source(source, quiet)
    assert run is not None
    assert run.accepted == 1


def test_a_file_written_in_other_ways_without_code(admin: Client, folder: Path) -> None:
    (folder / "a.csv").unlink()
    (folder / "org=acme").mkdir()
    (folder / "org=acme" / "a.csv").write_text("made up\n5;x;1.234,5;NULL\n")
    asked = form(
        folder,
        id_from_row="on",
        time_column="at",
        time_format="s",
        time_origin="2026-01-31T23:59:00Z",
        customer_column="org",
        folder_columns="on",
        column_names="at, model, tokens, note",
        skipped_lines=1,
        empty_cells="NULL",
        joined_columns='{"both": ["org", "model"]}',
        separator=";",
        decimal_sign=",",
        thousands_sign=".",
        encoding="cp1252",
    )
    add = reverse("admin:meters_eventsource_add")
    for field, wrong in {
        "time_origin": "Monday",
        "separator": "ab",
        "encoding": "klingon",
        "thousands_sign": ",",
        "joined_columns": '["a"]',
    }.items():
        assert field in admin.post(add, {**asked, field: wrong}).context["adminform"].errors
    assert admin.post(add, asked).status_code == 302
    source = EventSource.objects.get()
    shown = admin.get(reverse("admin:meters_eventsource_first_rows", args=[source.pk])).content.decode()
    for text in ("2026-01-31 23:59:05.000000", "acme x", "1234.5"):
        assert text in shown
    assert "NULL" not in shown
    run = run_source(source, quiet)
    assert run is not None
    assert run.accepted == 1


def test_first_rows_pass_by_files_that_are_broken(admin: Client, folder: Path) -> None:
    (folder / "0.parquet").write_bytes(b"PAR1 half")
    (folder / "1.csv").write_text("id,day\n1,2\n")
    source = make_source(folder)
    page = reverse("admin:meters_eventsource_first_rows", args=[source.pk])
    shown = admin.get(page).content.decode()
    assert "0.parquet: This is no whole Parquet file" in shown
    assert "name its column with “Time column”" in shown
    assert "2026-01-05 00:00:01.000000" in shown
    run = run_source(source, quiet)
    assert run is not None
    of_run = admin.get(reverse("admin:meters_importrun_change", args=[run.pk])).content.decode()
    assert "name its column with “Time column”" in of_run
    (folder / "a.csv").unlink()
    assert "0.parquet: This is no whole Parquet file" in admin.get(page, follow=True).content.decode()


def test_what_is_running_is_not_started_again(admin: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(folder)
    monkeypatch.setattr(background.subprocess, "Popen", lambda *_, **__: pytest.fail("started"))  # type: ignore[attr-defined]
    with elsewhere("event-source", source.pk):
        admin.post(reverse("admin:meters_eventsource_run_now", args=[source.pk]), {"_form_submitted": "on"})
    assert not ImportRun.objects.exists()


def test_the_editor_of_sources_needs_the_permission(client: Client, folder: Path) -> None:
    source = make_source(folder)
    client.force_login(User.objects.create_user("bob", is_staff=True))
    for page in ("first_rows", "change", "run_now"):
        assert client.get(reverse(f"admin:meters_eventsource_{page}", args=[source.pk])).status_code in {302, 403}


def test_what_it_starts_is_a_command_line_that_the_program_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(background.subprocess, "Popen", lambda command, **_: started.append(command))  # type: ignore[attr-defined]
    background.start(make_source(folder), "ann")
    _, program, *words = started[0]
    assert Path(program).is_file()
    parser = load_command_class("meters", words[0]).create_parser("manage.py", words[0])
    assert vars(parser.parse_args(words[1:]))["source"] == "gateway"
