"""Telling Stripe of issued invoices: the tests' own Stripe answers, in a process of its own on the loopback.

Each invoice is another customer's, so that its customer is made, the invoice, an item for each product, and it is
looked at, finalised and sent. The limit is a plain client that makes the same calls again, over one connection, to
another such Stripe that was asked the same before. Real answers take some hundred milliseconds: there the number of
calls is what an invoice takes, so it stands beside the rate.
"""

import http.client
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice, StripePush
from invoicing.stripe_pushing import find_due, push_due
from tests.benchmarks.made_invoices import finance, make_invoices
from tests.benchmarks.report import Result, median, table
from tests.benchmarks.stripe_process import Asked, Call, stripe_process
from tests.benchmarks.together import Together, together

if TYPE_CHECKING:
    from tests.benchmarks.__main__ import Options

INVOICES = 100  # a turn
MORE = 4  # a commit pays half of the invoices whole
TARGET = 0.1
SECRET = "sk_test_fake"  # what the tests' own Stripe expects


def run(options: "Options") -> tuple[Result, str]:
    many = max(int(INVOICES * options.scale), 5)
    actor = finance()
    left = _with_something_to_pay(make_invoices(options.url, MORE * many * options.rounds))[: many * options.rounds]
    turns: list[tuple[Together, float, Asked]] = []
    with stripe_process() as stripe, stripe_process() as other:
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_URL = SECRET, stripe.url
        for turn in range(options.rounds):
            for invoice in left[turn * many : (turn + 1) * many]:
                issue(approve(invoice, actor).pk, actor)
            product = together([_push])
            asked = stripe.look()
            limit = _ask_again(other.url, asked.calls)
            for each in (asked, other.look()):
                _check(left[: (turn + 1) * many], each)
            turns.append((product, limit, asked))
    calls = sum(len(asked.calls) for *_, asked in turns) / many / len(turns)
    seconds, limit = median([each.seconds for each, *_ in turns]), median([each for _, each, _ in turns])
    own = median([each.own_cpu for each, *_ in turns])
    database = median([each.database_cpu for each, *_ in turns])
    connections = turns[-1][-1].connections / len(turns)
    rest = seconds - own - database
    in_ms = [each / many * 1e3 for each in (seconds, own, database, rest, limit)]
    result = Result(
        name="push",
        scale=options.scale,
        product={"invoices": many / seconds, "calls": calls, "connections": connections},
        limit={"bare_calls": many / limit},
        ratio=limit / seconds,
        target=TARGET,
        unit="invoices/s",
        details=dict(zip(("ms", "ms_process", "ms_database", "ms_waiting", "ms_bare_calls"), in_ms, strict=True)),
    )
    head = ["invoices /s", "bare calls /s", "ratio", "target", "calls an invoice", "connections a run"]
    row = [many / seconds, many / limit, limit / seconds, TARGET, calls, connections, *in_ms]
    return result, table([*head, "ms", "ms process", "ms database", "ms waiting", "ms bare calls"], [row])


def _with_something_to_pay(invoices: Sequence[int]) -> list[int]:
    return list(Invoice.objects.filter(pk__in=invoices, total__gt=0).order_by("pk").values_list("pk", flat=True))


def _push() -> None:
    find_due()
    pushed = push_due()
    if pushed.later or pushed.blocked:
        raise RuntimeError(f"{pushed}: {StripePush.objects.exclude(last_error='').first()}")


def _check(invoices: Sequence[int], asked: Asked) -> None:
    totals = Invoice.objects.filter(pk__in=invoices, total__gt=0).values_list("total", flat=True)
    if asked.totals != sorted(int(total * 100) for total in totals):
        raise RuntimeError("Stripe's totals are not those of the invoices.")


def _ask_again(url: str, calls: Sequence[Call]) -> float:
    """Seconds that a plain client takes for the same calls."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
    started = time.monotonic()
    for call in calls:
        own = {**headers, "Idempotency-Key": call.key} if call.key else headers
        if call.verb == "GET":
            connection.request(call.verb, f"{call.path}?{call.form}", headers=own)
        else:
            connection.request(call.verb, call.path, call.form, own)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{call}: {answer.status}")
    took = time.monotonic() - started
    connection.close()
    return took
