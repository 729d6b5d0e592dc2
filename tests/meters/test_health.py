"""What the front page says of ingestion."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing_project.models import ApiKey
from meters.events import Rejection
from meters.health import Pulse, health
from meters.ingest import ingest_events, record_rejections
from meters.models import RollerMinute
from tests.factories import user
from tests.meters.making import event

pytestmark = pytest.mark.django_db


def test_what_waits_and_what_was_counted() -> None:
    assert (health(timezone.now()).waiting, health(timezone.now()).is_late) == (0, False)
    ingest_events([event("1"), event("2")])
    ingest_events([event("1", tokens=2)])
    record_rejections([Rejection(0, "", "time", "no_offset", "No offset.", "{}")], "gateway")
    now = health(timezone.now())
    assert (now.waiting, now.rejected, now.conflicts, now.is_late) == (2, 1, 1, True)
    Pulse().beat(120)
    now = health(timezone.now())
    assert (now.minutes[-1], sum(now.minutes), now.per_minute, now.is_late) == (120, 120, 2, False)
    assert health(timezone.now() + timedelta(minutes=5)).is_late


def test_a_roller_tells_of_itself() -> None:
    RollerMinute.objects.create(minute=timezone.now() - timedelta(days=3), seen_at=timezone.now())
    call_command("roll_up", once=True)
    [minute] = RollerMinute.objects.all()
    assert timezone.now() - minute.seen_at < timedelta(minutes=1)


def test_the_front_page(client: Client) -> None:
    ApiKey.issue("gateway", ["ingest"])
    ApiKey.issue("dashboard", ["read"])
    ingest_events([event("1")])
    client.force_login(user("Finance"))
    page = client.get(reverse("admin:index")).content.decode()
    assert "gateway" in page
    assert "dashboard" not in page
    assert "is manage.py roll_up running?" in page
    client.force_login(user("Service"))
    assert "Waiting to be counted" not in client.get(reverse("admin:index")).content.decode()
