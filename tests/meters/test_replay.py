"""Rejected events, corrected and replayed: by the verb, and by people in the admin."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from meters.api.taking import take
from meters.events import decode
from meters.models import Conflict, Event, RejectedEvent
from meters.periods import Period
from meters.replay import Correction, correct, replay
from meters.wire import lago, metronome, orb, stripe_v1, stripe_v2
from meters.wire.reading import Arrival
from tests.factories import user
from tests.meters.making import make_meter, usage

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 1, 10, tzinfo=UTC)
PRESSED = {"_form_submitted": "True"}
SENT = {"timestamp": "2026-01-05T10:00:00Z", "properties": {"tokens": 5}}
GOOD: dict[str, Any] = {
    "id": "1",
    "customer": "acme",
    "type": "llm",
    "time": "2026-01-05T10:00:00Z",
    "properties": {"tokens": 5},
}


def rejected(**changes: Any) -> RejectedEvent:
    body = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    decoded = decode(json.dumps(body).encode(), now=NOW)
    take(decoded, "gateway")
    return RejectedEvent.objects.latest("pk")


def test_a_corrected_event_counts_once() -> None:
    meter = make_meter()
    one = rejected(time="2026-01-05")
    one.corrected = json.dumps(GOOD)
    one.save()
    assert replay([one], by="ann", now=NOW).sentence == "1 counted"
    assert usage(meter) == {(): (Decimal(5), 1)}
    one.refresh_from_db()
    assert (one.replayed_at, one.replayed_by) == (NOW, "ann")
    assert replay([one], by="ann", now=NOW).sentence == "Nothing to replay"
    RejectedEvent.objects.update(replayed_at=None)
    assert replay(RejectedEvent.objects.all(), by="bob", now=NOW).sentence == "1 counted before"
    assert usage(meter) == {(): (Decimal(5), 1)}


def test_refused_again_it_shows_the_new_reason() -> None:
    one = rejected(time="2026-01-05")
    one.corrected = json.dumps({**GOOD, "customer": ""})
    one.save()
    assert replay([one], by="ann", now=NOW).refused == 1
    one.refresh_from_db()
    assert (one.path, one.code, one.tried_at, one.replayed_at) == ("customer", "blank", NOW, None)
    assert RejectedEvent.objects.count() == 1
    one.corrected = "{"
    replay([one], by="ann", now=NOW)
    assert one.code == "malformed_json"


def test_what_was_too_early_passes_when_its_time_has_come() -> None:
    one = rejected(time="2026-01-20T00:00:00Z")
    assert one.code == "too_far_ahead"
    assert replay([one], by="ann", now=datetime(2026, 1, 20, tzinfo=UTC)).counted == 1


def test_a_taken_identity_is_a_conflict_again() -> None:
    take(decode(json.dumps(GOOD).encode(), now=NOW), "gateway")
    one = rejected(customer=None)
    one.corrected = json.dumps({**GOOD, "properties": {"tokens": 6}})
    one.save()
    assert replay([one], by="ann", now=NOW).refused == 1
    assert (one.code, Conflict.objects.count()) == ("conflict", 1)


def test_many_are_corrected_by_one_change() -> None:
    meter = make_meter()
    for number in range(3):
        rejected(id=str(number), customer=None, customer_id="acme")
    rejected(id="9", customer=None)
    correct(RejectedEvent.objects.all(), Correction("customer", from_field="customer_id"))
    assert (
        replay(RejectedEvent.objects.all(), by="ann", now=NOW).sentence
        == "3 counted, 1 refused again: the reason is shown"
    )
    assert usage(meter) == {(): (Decimal(15), 3)}
    correct(RejectedEvent.objects.filter(replayed_at=None), Correction("customer", value="acme"))
    assert replay(RejectedEvent.objects.all(), by="ann", now=NOW).counted == 1


@pytest.mark.parametrize(
    ("read", "body", "field", "text"),
    [
        (lago.decode, {"events": [{"transaction_id": "1", "external_subscription_id": "acme", "code": "", **SENT}]},
         "code", "llm"),
        (metronome.decode, [{"transaction_id": "1", "customer_id": "", "event_type": "llm", **SENT}],
         "customer_id", "acme"),
        (orb.decode, {"events": [{"idempotency_key": "1", "customer_id": "acme", "event_name": "", **SENT}]},
         "event_name", "llm"),
        (stripe_v2.decode, {"event_name": "",
          "identifier": "1", "payload": {"stripe_customer_id": "acme", "tokens": 5}},
         "event_name", "llm"),
    ],
)  # fmt: skip
def test_events_of_other_clients_are_read_in_their_own_format(read: Any, body: Any, field: str, text: str) -> None:
    meter = make_meter()
    take(read(json.dumps(body).encode(), Arrival(NOW, "r")), "gateway")
    correct(RejectedEvent.objects.all(), Correction(field, value=text))
    assert replay(RejectedEvent.objects.all(), by="ann", now=NOW).counted == 1
    assert usage(meter, period=Period(NOW.replace(year=2000), NOW.replace(year=2100))) == {(): (Decimal(5), 1)}


def test_a_form_is_replayed_with_the_time_of_its_arrival() -> None:
    form = "event_name=llm&identifier=1&payload[stripe_customer_id]=&payload[tokens]=5"
    take(stripe_v1.decode(form.encode(), Arrival(NOW, "r")), "gateway")
    one = RejectedEvent.objects.get()
    one.corrected = form.replace("_id]=", "_id]=acme")
    one.save()
    assert replay([one], by="ann", now=timezone.now()).counted == 1
    assert Event.objects.get().time == one.first_at


def test_people_edit_and_replay(client: Client) -> None:
    one = rejected(time="2026-01-05")
    client.force_login(user("Sales ops"))
    url = reverse("admin:meters_rejectedevent_change", args=[one.pk])
    assert json.dumps(GOOD).replace('"', "&quot;")[:20] in client.get(url).content.decode()
    assert client.post(url, {"corrected": json.dumps(GOOD)}).status_code == 302
    press = reverse("admin:meters_rejectedevent_replay_one", args=[one.pk])
    client.post(press, PRESSED)
    one.refresh_from_db()
    assert (one.replayed_by, Event.objects.count()) == ("sales-ops", 1)
    listed = reverse("admin:meters_rejectedevent_changelist")
    assert client.get(listed).context["cl"].result_count == 0
    assert client.get(listed, {"state": "replayed"}).context["cl"].result_count == 1


def test_people_correct_and_replay_many(client: Client) -> None:
    for number in range(2):
        rejected(id=str(number), customer=None, customer_id="acme")
    client.force_login(user("Sales ops"))
    chosen = {"_selected_action": [each.pk for each in RejectedEvent.objects.all()], "index": 0}
    listed = reverse("admin:meters_rejectedevent_changelist")
    asked = client.post(listed, {**chosen, "action": "correct_selected"})
    assert "2 rejected events" in asked.content.decode()
    wrong = client.post(listed, {**chosen, "action": "correct_selected", "field": "customer"})
    assert "Give the field its value comes from" in wrong.content.decode()
    client.post(listed, {**chosen, "action": "correct_selected", "field": "customer", "from_field": "customer_id"})
    assert RejectedEvent.objects.exclude(replayed_at=None).count() == Event.objects.count() == 2


@pytest.mark.parametrize("role", ["Auditor", "Finance"])
def test_who_only_reads_cannot_replay(client: Client, role: str) -> None:
    one = rejected(customer=None)
    client.force_login(user(role))
    assert client.get(reverse("admin:meters_rejectedevent_change", args=[one.pk])).status_code == 200
    press = reverse("admin:meters_rejectedevent_replay_one", args=[one.pk])
    assert client.post(press, PRESSED).status_code == 403
    listed = reverse("admin:meters_rejectedevent_changelist")
    client.post(listed, {"action": "replay_selected", "_selected_action": [one.pk], "index": 0})
    one.refresh_from_db()
    assert one.tried_at is None
