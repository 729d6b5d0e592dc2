"""From acknowledged usage to the issued threshold invoice, while events of other customers come in.

The roller looks every second, and so does `bill_thresholds`: the installation's own services, each in a process of its
own. Every sample posts one event that is worth more than the threshold and waits until its invoice is committed.
"""

import http.client
import json
import threading
import time
from typing import TYPE_CHECKING

from django.utils import timezone

from billing_project.models import ApiKey
from catalog.models import Product, Rate, RateCard
from contracts.models import Contract, Customer
from invoicing.models import Invoice
from meters import partitions
from meters.models import Meter
from tests.benchmarks import processes
from tests.benchmarks.made_meters import make_meters
from tests.benchmarks.report import Result, percentile, table
from tests.benchmarks.stream import RUN, month_before
from tests.benchmarks.worker import Plan

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

CUSTOMERS = 20
SAMPLES = 100
BATCH = 100
BATCHES_A_SECOND = 20
TYPE = "threshold.reaction"
WITHIN = 5.0  # seconds: what "within seconds" is taken for
PATIENCE = 120.0
EVERY = ("--every", "1")


def run(options: "Options") -> tuple[Result, str]:
    now = timezone.now()
    partitions.ensure([month_before(now)])
    partitions.ensure_ahead(now)
    make_meters(of_all_types=False)
    contracts = _sell()
    secret = ApiKey.issue("Benchmark", ["ingest"])[1]
    samples = max(int(SAMPLES * options.scale), 5)
    with (
        processes.web_server() as (port, _),
        processes.rollers(1, *EVERY),
        processes.program("manage.py", "bill_thresholds", *EVERY),
    ):
        idle = [_react(port, secret, contracts[number % CUSTOMERS], number) for number in range(samples)]
        load = _Load(port, secret, samples)
        load.start()
        loaded = [_react(port, secret, contracts[number % CUSTOMERS], samples + number) for number in range(samples)]
        load.join()
    rows = [
        [name, len(times), percentile(times, 0.5), percentile(times, 0.99), max(times)]
        for name, times in (("nothing else", idle), (f"{load.rate:,.0f} events/s", loaded))
    ]
    p50, p99 = percentile(loaded, 0.5), percentile(loaded, 0.99)
    result = Result(
        name="threshold_reaction",
        scale=options.scale,
        product={"p50": p50, "p99": p99, "p50_idle": percentile(idle, 0.5), "load": load.rate},
        limit={"seconds": WITHIN},
        ratio=WITHIN / p99,
        target=1.0,
        unit="s",
    )
    return result, table(["beside", "samples", "p50 s", "p99 s", "longest s"], rows)


class _Load(threading.Thread):
    """Events of other customers, at a steady rate, for as long as the samples may take."""

    def __init__(self, port: int, secret: str, samples: int) -> None:
        super().__init__(daemon=True)
        seconds = samples * 2.0
        self._plan = Plan(
            kind="post",
            batch=BATCH,
            first=RUN,
            batches=int(seconds * BATCHES_A_SECOND),
            seconds=seconds,
            starting_at=month_before(timezone.now()).isoformat(),
            port=port,
            path="/api/v1/events",
            secret=secret,
            connections=4,
            rate=BATCHES_A_SECOND,
        )
        self.rate = 0.0

    def run(self) -> None:
        self.rate = processes.rate(processes.measure([self._plan]))


def _sell() -> list[Contract]:
    meter = Meter.objects.create(key=TYPE, name=TYPE, event_types=[TYPE], aggregation="sum", value_property="units")
    product = Product.objects.create(key=TYPE, name=TYPE, meter=meter)
    card = RateCard.objects.create(key=TYPE, name=TYPE, currency="USD")
    Rate.objects.create(rate_card=card, product=product, price={"model": "per_unit", "unit_amount": "1"})
    start = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [
        Contract.objects.create(
            key=f"reacting-{number}",
            customer=Customer.objects.create(key=f"reacting-{number}", name=f"Reacting {number}"),
            rate_card=card,
            starting_at=start,
            deal={"spend_threshold": {"amount": "10"}},
        )
        for number in range(CUSTOMERS)
    ]


def _react(port: int, secret: str, contract: Contract, number: int) -> float:
    """Seconds from the answer to the invoice."""
    invoices = Invoice.objects.filter(contract=contract, kind=Invoice.Kind.THRESHOLD)
    before = invoices.count()
    body = {
        "id": f"reaction-{number}",
        "source": "benchmark",
        "type": TYPE,
        "subject": contract.key,
        "time": timezone.now().isoformat(),
        "data": {"units": 25},
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/events", json.dumps(body), headers)
    answer = connection.getresponse()
    answered = time.monotonic()
    if answer.status != http.client.NO_CONTENT:
        raise RuntimeError(f"The event was answered with {answer.status}: {answer.read().decode()}")
    connection.close()
    while invoices.count() == before:
        if time.monotonic() - answered > PATIENCE:
            raise RuntimeError(f"No invoice came for event {number}.")
        time.sleep(0.02)
    return time.monotonic() - answered
