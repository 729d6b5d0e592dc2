"""The public traces, sent whole by the vendors' own clients to a running server, bill the same to the cent: one by each
client, the others by all in turn, and marked `whole` by each.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from lago_python_client.models.event import BatchEvent
from lago_python_client.models.event import Event as LagoEvent
from openmeter.models import Event as OpenMeterEvent

from billing_project.models import ApiKey, Scope
from catalog.models import Product
from invoicing.close import close_periods
from meters.models import Conflict, Event, RejectedEvent
from tests.benchmarks.processes import web_server
from tests.factories import MeterFactory
from tests.meters.sdk_clients import Site
from tests.processes import environment
from tests.scenarios.traces import (
    AZURE,
    REQUESTS,
    TOKENS,
    VALUES,
    Carried,
    Row,
    as_columns,
    billed,
    event_type,
    expected,
    roll_up_everything,
    rows,
    sell_azure,
    sell_servegen,
)

BATCH = 3_000

pytestmark = pytest.mark.usefixtures("real_commits")

Sent = tuple[str, Row]


def data(row: Row) -> dict[str, Any]:
    return {
        name: int(value) if name in VALUES else value
        for name, value in row.items()
        if name not in {"event_id", "timestamp", "customer"}
    }


def seconds(text: str) -> str:
    """Seconds since 1970 as text, to the microsecond."""
    time = datetime.fromisoformat(text)
    return f"{int(time.timestamp())}.{time.microsecond:06}"


def by_openmeter(site: Site, batch: Sequence[Sent]) -> None:
    site.openmeter().events.ingest_events(
        [
            OpenMeterEvent(
                id=row["event_id"],
                source="trace",
                specversion="1.0",
                type=kind,
                subject=row["customer"],
                time=datetime.fromisoformat(row["timestamp"]),
                data=data(row),
            )
            for kind, row in batch
        ]
    )


def by_lago(site: Site, batch: Sequence[Sent]) -> None:
    events = [
        LagoEvent(
            transaction_id=row["event_id"],
            external_subscription_id=row["customer"],
            code=kind,
            timestamp=seconds(row["timestamp"]),
            properties=data(row),
            precise_total_amount_cents=None,
        )
        for kind, row in batch
    ]
    site.lago().events.batch_create(BatchEvent(events=events))


def by_metronome(site: Site, batch: Sequence[Sent]) -> None:
    events: Any = [
        {
            "transaction_id": row["event_id"],
            "customer_id": row["customer"],
            "event_type": kind,
            "timestamp": row["timestamp"],
            "properties": {name: str(value) for name, value in data(row).items()},
        }
        for kind, row in batch
    ]
    site.metronome().v1.usage.ingest(usage=events)


def by_orb(site: Site, batch: Sequence[Sent]) -> None:
    events: Any = [
        {
            "idempotency_key": row["event_id"],
            "external_customer_id": row["customer"],
            "event_name": kind,
            "timestamp": datetime.fromisoformat(row["timestamp"]).replace(tzinfo=None),
            "properties": data(row),
        }
        for kind, row in batch
    ]
    site.orb().events.ingest(events=events)


def one_value(dataset_or_type: str, value: str) -> tuple[str, str]:
    """Stripe's meter events carry one value each: a row becomes one for each of its values, named after it."""
    return f"{event_type(dataset_or_type)}.{value}", "value"


def by_stripe(site: Site, batch: Sequence[Sent]) -> None:
    """The first by v2 one by one, then some by v1, whose times are whole seconds; the others through the stream."""
    events: Any = [
        {
            "identifier": f"{row['event_id']}.{value}",
            "event_name": one_value(kind, value)[0],
            "timestamp": row["timestamp"],
            "payload": {
                "stripe_customer_id": row["customer"],
                "value": row[value],
                **{name: text for name, text in data(row).items() if name not in VALUES},
            },
        }
        for kind, row in batch
        for value in VALUES
        if value in row
    ]
    client = site.stripe()
    for event in events[:10]:
        client.v2.billing.meter_events.create(event)
    for event in events[10:20]:
        whole = int(datetime.fromisoformat(event["timestamp"]).timestamp())
        client.v1.billing.meter_events.create(event | {"timestamp": whole})
    session = client.v2.billing.meter_event_session.create()
    site.stripe(session.authentication_token).v2.billing.meter_event_stream.create({"events": events[20:]})


CLIENTS: dict[str, Callable[[Site, Sequence[Sent]], None]] = {
    "openmeter": by_openmeter,
    "lago": by_lago,
    "metronome": by_metronome,
    "orb": by_orb,
    "stripe": by_stripe,
}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Gunicorn, as in production: the clients have the other processor to themselves."""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    for name, value in environment(LOG_LEVEL="ERROR").items():
        monkeypatch.setenv(name, value)
    secret = ApiKey.issue("Tests", [Scope.INGEST])[1]
    with web_server(workers=1) as (port, _):
        yield Site(f"http://127.0.0.1:{port}", secret)


def rows_of(*datasets: str) -> list[Sent]:
    return [(event_type(dataset), row) for dataset in datasets for row in rows(dataset)]


def send(site: Site, sent: Sequence[Sent], *clients: str, size: int = BATCH) -> int:
    """In batches, by one client after the other; the first batch is sent again. How many events that makes."""
    events = 0
    for number, start in enumerate(range(0, len(sent), size)):
        client, batch = clients[number % len(clients)], sent[start : start + size]
        CLIENTS[client](site, batch)
        events += events_of(batch) if client == "stripe" else len(batch)
    CLIENTS[clients[0]](site, sent[:size])
    return events


def assert_bills(events: int, *datasets: str) -> None:
    assert Event.objects.count() == events
    assert not RejectedEvent.objects.exists()
    assert not Conflict.objects.exists()
    roll_up_everything()
    close_periods(datetime(2025, 4, 2, tzinfo=UTC))
    assert billed() == sorted(line for dataset in datasets for line in expected(dataset))


def shape_of(client: str) -> Carried:
    return one_value if client == "stripe" else as_columns


def read_both_shapes() -> None:
    """Meters that read an event for a row and an event for a value: what an event lacks counts 0."""
    for product in Product.objects.select_related("meter"):
        meter = product.meter
        assert meter
        (kind,), name = meter.event_types, meter.value_property
        both = MeterFactory.create(
            event_types=sorted([kind, one_value(kind, name)[0]]),
            value_property="",
            value_expression=f"{name} + value",
            group_by=meter.group_by,
        )
        Product.objects.filter(pk=product.pk).update(meter=both)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_trace_bills_the_same_by_each_client(site: Site, client: str) -> None:
    sell_azure(shape_of(client))
    assert_bills(send(site, rows_of(AZURE), client), AZURE)


def test_the_others_bill_the_same_by_all_clients_in_turn(site: Site) -> None:
    sell_servegen()
    read_both_shapes()
    tokens, requests = rows_of(TOKENS), rows_of(REQUESTS)
    fifth = -(-len(tokens) // len(CLIENTS))
    assert_bills(send(site, tokens, *CLIENTS, size=fifth) + send(site, requests, *CLIENTS), TOKENS, REQUESTS)


@pytest.mark.whole
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("dataset", [TOKENS, REQUESTS])
def test_the_others_bill_the_same_by_each_client(site: Site, dataset: str, client: str) -> None:
    sell_servegen(shape_of(client))
    assert_bills(send(site, rows_of(dataset), client), dataset)


def events_of(sent: Sequence[Sent]) -> int:
    """One for each value."""
    return sum(name in row for _, row in sent for name in VALUES)
