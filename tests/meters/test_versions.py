"""New versions of a meter, and the sample that shows what a definition makes of the newest events."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from meters.ingest import ingest_events
from meters.models import Meter
from meters.sample import sample
from meters.versions import new_version
from tests.meters.making import event, make_meter, usage

pytestmark = pytest.mark.django_db
URL = "admin:meters_meter_add"


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("admin"))
    return client


def test_both_versions_count() -> None:
    ingest_events([event("a", tokens=10, cached=4)])
    first = make_meter(key="tokens", group_by=["model"])
    second = new_version(first, value_property="", value_expression="tokens - cached")
    third = new_version(second, value_expression="tokens - cached / 2")
    assert [(each.key, each.version) for each in (first, second, third)] == [
        ("tokens", 1),
        ("tokens-v2", 2),
        ("tokens-v3", 3),
    ]
    assert third.earlier == second
    assert [usage(each)[None,][0] for each in (first, second, third)] == [Decimal(10), Decimal(6), Decimal(8)]


def test_what_is_refused() -> None:
    first = make_meter(key="tokens")
    with pytest.raises(ValidationError, match="means the same"):
        new_version(first, name="Another name")
    with pytest.raises(ValidationError, match="At character 1"):
        new_version(first, value_property="", value_expression="*")
    new_version(first, aggregation="max")
    with pytest.raises(ValidationError, match="later version already: tokens-v2"):
        new_version(first, aggregation="min")


def test_a_version_is_made_in_the_admin(staff: Client) -> None:
    first = make_meter(key="tokens", filters=[{"property": "model", "in": ["a"]}], group_by=["model"])
    led = staff.get(reverse("admin:meters_meter_new_version", args=[first.pk]))
    form = staff.get(led.headers["Location"])
    text = form.content.decode()
    assert "New version of" in text
    assert 'value="tokens-v2"' in text
    initial = form.context["adminform"].form.initial
    assert (initial["aggregation"], initial["filters"]) == ("sum", first.filters)
    given = {
        "name": "Tokens", "key": "tokens-v2", "event_types": "llm", "filters": "[]", "aggregation": "sum",
        "value_expression": "tokens * 2", "group_by": "model",
    }  # fmt: skip
    assert staff.post(led.headers["Location"], given).status_code == 302
    second = Meter.objects.get(key="tokens-v2")
    assert (second.version, second.earlier) == (2, first)
    page = staff.get(reverse("admin:meters_meter_change", args=[second.pk])).content.decode()
    assert "Version 2, follows" in page
    assert staff.get(led.headers["Location"]).status_code == 302, "there is one already"


def test_the_sample_says_what_counts_and_why_not() -> None:
    ingest_events([event("a", tokens=3, model="x", time="2026-01-07"), event("b", tokens="many"), event("c", type="i")])
    found = sample(
        Meter(key="new", event_types=["llm"], aggregation="sum", value_property="tokens", group_by=["model"])
    )
    assert (found.events, found.matched) == (3, 1)
    assert [(row.match.value, row.group) for row in found.shown] == [("3", "model: x")]
    assert {row.match.reason for row in found.left_out} == {"Its tokens is no number: many", "Its type is i."}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"value_property": "tokens"}, "1 of the last 2 events"),
        ({"value_expression": "tokens +"}, "At character 9"),
        ({}, "Name a property"),
    ],
)
def test_the_form_has_a_sample(staff: Client, given: dict[str, Any], shown: str) -> None:
    ingest_events([event("a", tokens=3), event("b", type="image")])
    assert "hx-post" in staff.get(reverse(URL)).content.decode()
    definition = {"event_types": "llm", "filters": "[]", "aggregation": "sum", "group_by": "", **given}
    assert shown in staff.post(reverse("admin:meters_meter_sample"), definition).content.decode()
    assert not Meter.objects.exists()
