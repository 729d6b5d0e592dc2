"""Telling others what happened: written in the transaction of what it tells of, so told exactly when that is true.

Without an endpoint that wants an event, and without `EMAIL_URL`, nothing is written.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone

from billing_project.decimals import plain
from invoicing.models import Delivery, Invoice, OutgoingEvent, WebhookEndpoint
from invoicing.models.outbox import EventType


def announce(kind: EventType, told: Mapping[str, Any], cause: str, at: datetime | None = None) -> OutgoingEvent | None:
    """Write an event for every endpoint that wants it; the same cause is told once."""
    endpoints = [each for each in WebhookEndpoint.objects.filter(active=True) if each.wants(kind)]
    if not endpoints:
        return None
    at = at or timezone.now()
    body = msgspec.json.encode({"type": kind.value, "timestamp": at.isoformat(), "data": told}).decode()
    event, new = OutgoingEvent.objects.get_or_create(
        cause=f"{kind.value}:{cause}", defaults={"type": kind.value, "at": at, "body": body}
    )
    if new:
        Delivery.objects.bulk_create(
            [Delivery(event=event, endpoint=each, next_attempt_at=timezone.now()) for each in endpoints]
        )
    return event


def write_mail(template: str, to: Collection[str], cause: str, **context: Any) -> bool:
    """Write an e-mail of a text template, whose first line is the subject; one cause, one mail."""
    addresses = sorted({each.strip() for each in to if each.strip()})
    if not addresses or not settings.EMAIL_URL:
        return False
    subject, _, text = render_to_string(f"mail/{template}.txt", {**context, "seller": settings.SELLER}).partition("\n")
    _, new = Delivery.objects.get_or_create(
        cause=f"mail:{cause}",
        defaults={
            "to": addresses,
            "subject": " ".join(subject.split())[:300],
            "text": text.strip() + "\n",
            "next_attempt_at": timezone.now(),
        },
    )
    return new


def told_of(invoice: Invoice) -> dict[str, Any]:
    """An invoice in an event."""
    return {
        "number": invoice.number,
        "kind": invoice.kind,
        "status": invoice.status,
        "customer": invoice.customer.key,
        "contract": invoice.contract.key,
        "currency": str(invoice.total.currency),
        "total": plain(invoice.total.amount),
        "open": plain(invoice.open_amount),
        "period": {
            "starting_at": invoice.starting_at.isoformat(),
            "ending_before": invoice.ending_before.isoformat(),
        },
        "issued_at": invoice.issued_at.isoformat() if invoice.issued_at else None,
        "due_at": invoice.due_at.isoformat() if invoice.due_at else None,
    }


def announce_invoice(kind: EventType, invoice: Invoice, part: str = "") -> None:
    announce(kind, told_of(invoice), f"invoice:{invoice.pk}{part}")


def announce_issue(invoice: Invoice) -> None:
    """An issued invoice, to programs and to whoever it is addressed to. With nothing to pay there is no mail."""
    announce_invoice(EventType.INVOICE_ISSUED, invoice)
    if "invoices" in settings.EMAILS and invoice.total.amount:
        to = [str(invoice.bill_to.get("email", ""))]
        write_mail("invoice_issued", to, f"invoice-issued:{invoice.pk}", invoice=invoice)
