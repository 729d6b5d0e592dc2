"""The page of archived months: what they held, and the two buttons."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from meters import archive_admin, dictionary, partitions
from meters.archive_rows import Row, write_rows
from meters.models import Event, EventArchive
from tests.meters.files import write_parquet

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("roles")]
MARCH = datetime(2019, 3, 1, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[EventArchive]:
    """A month that left: four events."""
    rows = [Row(MARCH.replace(day=day), UUID(int=day), "acme", "llm", '{"tokens": 1.50}', day) for day in range(1, 5)]
    record = write_rows(rows, tmp_path / "march.parquet")
    yield EventArchive.objects.create(
        month=MARCH, place=str(tmp_path), file="march.parquet", size=(tmp_path / "march.parquet").stat().st_size,
        events=record.events, by_type=record.by_type, digest=record.shown_digest, exported_at=MARCH, dropped_at=MARCH,
    )  # fmt: skip
    dictionary.forget()
    partitions.forget()


def login(client: Client, role: str) -> None:
    user = User.objects.create_user(role.replace(" ", ""), is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client.force_login(user)


def pressed(client: Client, archive: EventArchive, name: str) -> str:
    """The page after a button."""
    client.post(reverse(f"admin:meters_eventarchive_{name}", args=[archive.pk]), {"_form_submitted": "on"})
    return client.get(reverse("admin:meters_eventarchive_change", args=[archive.pk])).content.decode()


def press(client: Client, archive: EventArchive, name: str) -> str:
    """The sentence the page shows then."""
    found = re.search(r"March 2019(:| holds) [^<]*", pressed(client, archive, name))
    return " ".join(found[0].split()) if found else ""


def test_what_it_held_is_shown_to_who_may_look_and_no_more(
    client: Client, archive: EventArchive, tmp_path: Path
) -> None:
    login(client, "Auditor")
    page = client.get(reverse("admin:meters_eventarchive_change", args=[archive.pk])).content.decode()
    for text in ("In its file alone", str(tmp_path), "llm", "<code>tokens</code> 6"):
        assert text in page
    for name in ("verify_file", "bring_back"):
        assert press(client, archive, name) == ""
    archive.refresh_from_db()
    assert archive.verified_at is None
    assert archive.dropped_at


def test_the_buttons_verify_and_restore(client: Client, archive: EventArchive, tmp_path: Path) -> None:
    login(client, "Sales ops")
    listed = reverse("admin:meters_eventarchive_changelist")
    assert "March 2019" in client.get(listed, {"lie": "file"}).content.decode()
    file = tmp_path / archive.file
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    for name in ("verify_file", "bring_back"):
        assert "no whole Parquet file" in pressed(client, archive, name)
    write_parquet(file, {"time": [1], "key": ["x"]})
    assert "no archived month: column customer, type, properties, seq is missing" in pressed(
        client, archive, "bring_back"
    )
    file.unlink()
    assert "there is no such file" in pressed(client, archive, "verify_file")
    file.write_bytes(whole)
    assert press(client, archive, "verify_file") == "March 2019: the file holds what was recorded, 4 events."
    assert press(client, archive, "bring_back") == "March 2019: 4 events are back."
    assert press(client, archive, "bring_back") == "March 2019: 4 events are there already."
    archive.refresh_from_db()
    assert archive.verified_at
    assert archive.dropped_at is None
    assert Event.objects.count() == 4
    assert "March 2019" in client.get(listed, {"lie": "both"}).content.decode()
    assert "March 2019" not in client.get(listed, {"lie": "file"}).content.decode()


def test_what_takes_long_is_left_to_a_command_that_works(
    client: Client, archive: EventArchive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(archive_admin, "AT_ONCE", 3)
    login(client, "Sales ops")
    for name, said in (("verify_file", "the file holds"), ("bring_back", "4 events restored")):
        shown = press(client, archive, name)
        assert shown.startswith("March 2019 holds 4 events, more than the 3 a page waits for. Run this on the server:")
        command = shown.partition("manage.py ")[2].split()
        call_command(*command)
        written = capsys.readouterr()
        assert said in written.out
        assert "4 of 4 events, done" in written.err
    assert Event.objects.count() == 4
