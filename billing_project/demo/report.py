"""What the demo says at its end."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count
from django.urls import reverse

from billing_project.demo import contents
from billing_project.demo.trace import EVENT_TYPE
from catalog.money import add
from contracts.models import Contract
from invoicing.models import Invoice, Status

CURL = """\
curl -i {url}/api/v1/events \\
  -H 'Authorization: Bearer {secret}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"id": "curl-{moment:%Y%m%d%H%M%S}", "time": "{moment:%Y-%m-%dT%H:%M:%SZ}", "type": "{type}",
       "subject": "cust-01", "data": {{"service": "conv", "input_tokens": 400000, "output_tokens": 100000}}}}'"""


def invoices() -> Iterator[str]:
    rows = (
        Invoice.objects.filter(contract__rate_card__key=contents.MARK, starting_at=contents.MONTH[0])
        .exclude(status=Status.VOID)
        .select_related("customer")
        .annotate(count=Count("lines"))
        .order_by("customer__key")
    )
    yield f"{'Customer':24} {'Key':8} {'Status':12} {'Lines':>5} {'Total':>12}"
    for row in rows:
        who = f"{row.customer.name:24} {row.customer.key:8} {row.get_status_display():12}"
        yield f"{who} {row.count:5} {row.total.amount:8.2f} {row.total.currency}"
    total = add(row.total.amount for row in rows)
    yield f"{f'{len(rows)} invoices, November 2023':46} {sum(row.count for row in rows):5} {total:8.2f} USD"


def logins() -> Iterator[str]:
    yield f"{'User':9} {'Role':12} Password"
    for login in contents.logins():
        yield f"{login.name:9} {login.role:12} {login.password or '(changed since)'}"


def addresses(url: str, secret: str, now: datetime) -> Iterator[str]:
    contract = Contract.objects.filter(key="cust-01-renewed").first()
    yield f"The admin: {url}{reverse('admin:index')}   The API's pages: {url}{reverse('docs')}"
    yield ""
    yield "Send an event:"
    yield CURL.format(url=url, secret=secret, moment=now, type=EVENT_TYPE)
    if contract:
        yield "... and see it on the draft of the month that runs:"
        yield url + reverse("admin:invoicing_live_draft", args=[contract.pk])
