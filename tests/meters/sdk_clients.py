"""A running server, a key for it, and each vendor's own client pointed at it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import openmeter
import orb
import pytest
import stripe
from django.core.servers.basehttp import ServerHandler
from django.test.testcases import QuietWSGIRequestHandler
from lago_python_client.client import Client as LagoClient
from metronome import Metronome
from pytest_django.live_server_helper import LiveServer

from billing_project.api import keys
from billing_project.models import ApiKey, Scope
from meters import dictionary, partitions
from meters.models import Event

TIME = datetime(2026, 1, 5, 10, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Site:
    """Where to send, and a key that may."""

    url: str
    secret: str

    def openmeter(self, **more: Any) -> openmeter.Client:
        return openmeter.Client(endpoint=self.url, token=self.secret, **more)

    def lago(self) -> LagoClient:
        return LagoClient(api_key=self.secret, api_url=self.url)

    def metronome(self, retries: int = 0) -> Metronome:
        return Metronome(bearer_token=self.secret, base_url=self.url, max_retries=retries)

    def orb(self, retries: int = 0) -> orb.Orb:
        return orb.Orb(api_key=self.secret, base_url=self.url, max_retries=retries)

    def stripe(self, secret: str = "", retries: int = 0) -> stripe.StripeClient:
        addresses: Any = {"api": self.url, "meter_events": self.url}
        return stripe.StripeClient(secret or self.secret, base_addresses=addresses, max_network_retries=retries)

    def with_key(self, secret: str) -> "Site":
        return Site(self.url, secret)


def stored() -> list[tuple[str, str, datetime, dict[str, Any]]]:
    """Customer, type, time and properties of every event."""
    rows = Event.objects.select_related("subject", "event_type").order_by("seq")
    return [(row.subject.key, row.event_type.name, row.time, row.properties) for row in rows]


@pytest.fixture(scope="module", name="server")
def running_server() -> Iterator[LiveServer]:
    with pytest.MonkeyPatch.context() as patch:
        # Clients keep connections open, and so the server's threads and their database sessions.
        patch.setattr(QuietWSGIRequestHandler, "protocol_version", "HTTP/1.0")
        patch.setattr(ServerHandler, "http_version", "1.0")
        server = LiveServer("localhost")
        yield server
        server.stop()


@pytest.fixture(name="site")
def site_with_key(server: LiveServer, transactional_db: None) -> Iterator[Site]:
    """With an empty database: tests that use it are marked `emptied`."""
    forget()
    yield Site(server.url, ApiKey.issue("Tests", [Scope.INGEST])[1])
    forget()


def forget() -> None:
    dictionary.forget()
    partitions.forget()
    keys.clear()


# Empties only the tables of these apps: all of them take longer than a test.
emptied = pytest.mark.django_db(transaction=True, available_apps=["meters", "billing_project"])
