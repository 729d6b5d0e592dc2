"""Published traces of real usage measure the same whichever vendor's client sends them: see tests/data/README.md."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lago_python_client.models.event import BatchEvent
from lago_python_client.models.event import Event as LagoEvent
from openmeter.models import Event as OpenMeterEvent

from meters.aggregation import UsageRequest, quantities
from meters.models import Conflict, Event, Meter, RejectedEvent
from meters.periods import Period
from tests.meters.sdk_clients import Site, emptied, running_server, site_with_key  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
AZURE = ROOT / "billing_project" / "demo" / "azure_llm_2023.csv.gz"
TOKENS = ROOT / "tests" / "data" / "servegen_tokens_6h.csv.gz"
REQUESTS = ROOT / "tests" / "data" / "servegen_requests_10m.csv.gz"
# Every how manieth row is sent: a slice of each trace is enough to see a difference.
TRACES = {AZURE: 50, TOKENS: 10, REQUESTS: 200}
VALUES = ("input_tokens", "output_tokens", "requests")
EVER = Period(datetime(2023, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))

pytestmark = emptied
Row = dict[str, str]
Usage = dict[tuple[str, str, str | None], Decimal]


def rows() -> Iterator[tuple[str, Row]]:
    """The event type and the row."""
    for path, step in TRACES.items():
        with gzip.open(path, "rt", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines)):
                if number % step == 0:
                    yield path.name.partition(".")[0], row


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


def by_openmeter(site: Site, batch: Sequence[tuple[str, Row]]) -> None:
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


def by_lago(site: Site, batch: Sequence[tuple[str, Row]]) -> None:
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


def by_metronome(site: Site, batch: Sequence[tuple[str, Row]]) -> None:
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


def by_orb(site: Site, batch: Sequence[tuple[str, Row]]) -> None:
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


def by_stripe(site: Site, batch: Sequence[tuple[str, Row]]) -> None:
    """All three ways; the times of v1 are whole seconds."""
    events: Any = [
        {
            "identifier": row["event_id"],
            "event_name": kind,
            "timestamp": row["timestamp"],
            "payload": {"stripe_customer_id": row["customer"], **{k: str(v) for k, v in data(row).items()}},
        }
        for kind, row in batch
    ]
    client = site.stripe()
    for event in events[:10]:
        client.v2.billing.meter_events.create(event)
    for event in events[10:20]:
        whole = int(datetime.fromisoformat(event["timestamp"]).timestamp())
        client.v1.billing.meter_events.create(event | {"timestamp": whole})
    session = client.v2.billing.meter_event_session.create()
    stream = site.stripe(session.authentication_token).v2.billing.meter_event_stream
    stream.create({"events": events[:10] + events[20:]})


CLIENTS: dict[str, Callable[[Site, Sequence[tuple[str, Row]]], None]] = {
    "openmeter": by_openmeter,
    "lago": by_lago,
    "metronome": by_metronome,
    "orb": by_orb,
    "stripe": by_stripe,
}


def meter(kind: str, value: str) -> Meter:
    made = Meter(
        key=f"{kind}-{value}", name=value, event_types=[kind], value_property=value, group_by=["model", "service"]
    )
    made.full_clean()
    made.save()
    return made


def expected() -> Usage:
    """Summed in plain Python."""
    usage: Usage = defaultdict(Decimal)
    for kind, row in rows():
        for value in VALUES:
            if value in row:
                usage[f"{kind}-{value}", row["customer"], row.get("model") or row.get("service")] += Decimal(row[value])
    return dict(usage)


def measured() -> Usage:
    customers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, row in rows():
        for value in VALUES:
            if value in row:
                customers[kind, value].add(row["customer"])
    meters = {of: meter(*of) for of in customers}
    asked = [(meters[of], customer) for of, known in customers.items() for customer in sorted(known)]
    requests = [
        UsageRequest(number, one, (customer,), EVER, ("model", "service"))
        for number, (one, customer) in enumerate(asked)
    ]
    return {
        (asked[each.key][0].key, asked[each.key][1], each.group[0] or each.group[1]): each.quantity
        for each in quantities(requests)
    }


@pytest.mark.parametrize("client", CLIENTS)
def test_the_traces_measure_the_same(site: Site, client: str) -> None:
    everything = list(rows())
    for start in range(0, len(everything), 1000):
        CLIENTS[client](site, everything[start : start + 1000])
    CLIENTS[client](site, everything[:1000])
    assert Event.objects.count() == len(everything)
    assert not RejectedEvent.objects.exists()
    assert not Conflict.objects.exists()
    usage = expected()
    assert len(usage) > 100
    assert measured() == usage
