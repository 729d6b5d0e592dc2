"""The pages of meters and of what arrived."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from meters.events import Rejection
from meters.ingest import ingest_events, record_rejections
from meters.models import Conflict, Meter, RejectedEvent, Subject
from tests.meters.making import event, make_meter

pytestmark = pytest.mark.django_db
DEFINITION = {
    "name": "Output tokens",
    "key": "output-tokens",
    "event_types": "llm.completion, llm.chat",
    "filters": '[{"property": "status", "in": ["ok", 5]}, {"property": "steps", "gt": 50}]',
    "aggregation": "sum",
    "value_property": "usage.output_tokens",
    "group_by": "model, region",
}


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin"))
    return client


def errors(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.context["adminform"].form.errors
    return found


def test_a_meter_is_made(staff: Client) -> None:
    answer = staff.post(reverse("admin:meters_meter_add"), DEFINITION)
    assert answer.status_code == 302, errors(answer)
    meter = Meter.objects.get()
    assert meter.event_types == ["llm.completion", "llm.chat"]
    assert meter.group_by == ["model", "region"]
    assert meter.filters == [{"property": "status", "in": ["ok", "5"]}, {"property": "steps", "gt": "50"}]


@pytest.mark.parametrize(
    ("field", "given", "message"),
    [
        ("event_types", "", "required"),
        ("value_property", "", "Name a property"),
        ("value_property", "a..b", "is not a property path"),
        ("filters", '{"a": 1}', "list"),
        ("filters", '[{"property": "a"}]', "filters[0]: no rule"),
        ("filters", '[{"property": "a", "like": "b"}]', "filters[0]: like"),
        ("filters", '[{"property": "a", "gt": "many"}]', "gt takes a number"),
        ("filters", '[{"property": "a", "in": []}]', "in takes a list"),
        ("filters", '[{"in": ["a"]}]', "Name a property"),
        ("filters", "nonsense", "valid JSON"),
        ("group_by", "model..x", "is not a property path"),
        ("aggregation", "median", "not one of the available choices"),
        ("key", "Output tokens", "letters, digits"),
    ],
)
def test_a_bad_definition_is_refused_by_field(staff: Client, field: str, given: str, message: str) -> None:
    answer = staff.post(reverse("admin:meters_meter_add"), {**DEFINITION, field: given})
    assert answer.status_code == 200
    assert message in " ".join(errors(answer)[field])


def test_the_meaning_cannot_be_edited(staff: Client) -> None:
    meter = make_meter(group_by=["model"])
    url = reverse("admin:meters_meter_change", args=[meter.pk])
    assert staff.post(url, {"name": "New name", "value_property": "other", "group_by": ""}).status_code == 302
    meter.refresh_from_db()
    assert (meter.name, meter.value_property, meter.group_by) == ("New name", "tokens", ["model"])


def test_the_page_shows_usage(staff: Client) -> None:
    meter = make_meter()
    now = timezone.now()
    ingest_events([event("a", tokens=1200, time=f"{now - timedelta(seconds=5):%Y-%m-%dT%H:%M:%S}")])
    ingest_events([event("b", tokens="0.5", time=f"{now - timedelta(seconds=5):%Y-%m-%dT%H:%M:%S}")])
    text = staff.get(reverse("admin:meters_meter_change", args=[meter.pk])).content.decode()
    assert "1,200.5" in text
    assert "acme" in text
    assert f"{now:%B %Y}" in text


def test_a_meter_is_archived_and_brought_back(staff: Client) -> None:
    meter = make_meter()
    for action, archived in (("archive", True), ("bring_back", False)):
        staff.post(reverse(f"admin:meters_meter_{action}", args=[meter.pk]), {"_form_submitted": "on"})
        meter.refresh_from_db()
        assert bool(meter.archived_at) == archived


def test_events_by_customer_time_and_type(staff: Client) -> None:
    ingest_events([event("a", tokens="12345678901234567890.5"), event("b", customer="other", type="image")])
    url = reverse("admin:meters_event_changelist")
    everything = staff.get(url).content.decode()
    assert "12345678901234567890.5" in everything
    assert "other" in everything
    mine = staff.get(url, {"q": "acme"})
    assert [each.subject.key for each in mine.context["cl"].result_list] == ["acme"]
    assert staff.get(url, {"q": "nobody"}).context["cl"].result_count == 0
    days = {"time_from_0": "2026-01-05", "time_from_1": "10:00", "time_to_0": "2026-01-06", "time_to_1": ""}
    assert staff.get(url, days).context["cl"].result_count == 2
    assert staff.get(url, {**days, "time_to_0": "2026-01-05"}).context["cl"].result_count == 0
    images = {"event_type__id__exact": mine.context["cl"].result_list[0].event_type_id}
    assert staff.get(url, images).context["cl"].result_count == 1


def test_events_cannot_be_changed(staff: Client) -> None:
    assert staff.get(reverse("admin:meters_event_add")).status_code == 403


def test_rejected_events_and_conflicts_are_listed(staff: Client) -> None:
    rejection = Rejection(0, "bad\0id", "time", "required", "`time` is missing.", '{"id": "<b>"}')
    record_rejections([rejection, rejection], "gateway")
    record_rejections([rejection], "gateway")
    kept = RejectedEvent.objects.get()
    assert (kept.times, kept.event_id, kept.sender) == (3, "bad\\u0000id", "gateway")
    ingest_events([event("a", tokens=1), event("a", tokens=2)])
    for listed, shown in ((kept, "is missing"), (Conflict.objects.get(), "acme"), (Subject.objects.get(), "tokens")):
        name = listed._meta.model_name
        assert staff.get(reverse(f"admin:meters_{name}_changelist")).status_code == 200
        assert shown in staff.get(reverse(f"admin:meters_{name}_change", args=[listed.pk])).content.decode()


def test_texts_of_any_length_keep_lists_narrow(staff: Client) -> None:
    long = "x" * 250
    record_rejections([Rejection(0, long, f"data.{long}", "invalid_time", "`time` is …", "{}")], long[:100])
    ingest_events([event(long, customer=long, note=long * 4), event(long, customer=long, note="")])
    for name in ("rejectedevent", "conflict", "event", "subject"):
        page = staff.get(reverse(f"admin:meters_{name}_changelist")).content.decode()
        assert f'<span title="{long}" style="display:block; max-width:' in page
        assert long * 2 not in page


def test_a_meter_offers_what_would_change_it(staff: Client) -> None:
    meter = make_meter()
    page = reverse("admin:meters_meter_change", args=[meter.pk])
    archive, back = (reverse(f"admin:meters_meter_{name}", args=[meter.pk]) for name in ("archive", "bring_back"))
    live = staff.get(page).content.decode()
    assert (archive in live, back in live) == (True, False)
    meter.archive(timezone.now())
    archived = staff.get(page).content.decode()
    assert (archive in archived, back in archived) == (False, True)
