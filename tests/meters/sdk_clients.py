"""A running server, a key for it, and each vendor's own client pointed at it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import openmeter
import orb
import stripe
from lago_python_client.client import Client as LagoClient
from metronome import Metronome

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
