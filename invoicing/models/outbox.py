"""What is told to other programs and to people: written with what it tells of, delivered later, kept with every try."""

import secrets
import uuid
from base64 import b64encode
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.db.models import Q

from billing_project.history import tracked


class EventType(models.TextChoices):
    INVOICE_ISSUED = "invoice.issued", "An invoice is issued"
    INVOICE_PAID = "invoice.paid", "An invoice is paid"
    INVOICE_VOIDED = "invoice.voided", "An invoice is voided"
    INVOICE_OVERDUE = "invoice.overdue", "A reminder of an overdue invoice is due"
    CREDIT_NOTE_ISSUED = "credit_note.issued", "A credit note is issued"
    BALANCE_LOW = "balance.low", "A balance has fallen to an alert's limit"
    BALANCE_RECHARGED = "balance.recharged", "A balance was filled up"
    ALERT_TRIGGERED = "alert.triggered", "An alert's limit is reached"
    ALERT_RECOVERED = "alert.recovered", "An alert's limit is no longer reached"


def new_secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


@tracked(exclude=["secret", "old_secret"])
class WebhookEndpoint(models.Model):
    """Where events are posted, signed by the Standard Webhooks scheme. While a secret is changed both sign."""

    url = models.URLField(
        max_length=500, validators=[URLValidator(["https", "http"])], help_text="Events are posted here, as JSON."
    )
    description = models.CharField(max_length=200, blank=True)
    event_types = ArrayField(
        models.CharField(max_length=40, choices=EventType), default=list, blank=True, help_text="Empty: all of them."
    )
    active = models.BooleanField(default=True)
    secret = models.CharField(max_length=200, default=new_secret, editable=False)
    old_secret = models.CharField(max_length=200, blank=True, editable=False)
    old_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["WebhookEndpoint"]] = models.Manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.description or self.url

    def clean(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise ValidationError({"url": "Give an address that begins with https://, or http:// on your own network."})

    def wants(self, kind: str) -> bool:
        return not self.event_types or kind in self.event_types


class OutgoingEvent(models.Model):
    """Something that happened, as it is told. `cause` names it, once."""

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    type = models.CharField(max_length=40, choices=EventType)
    cause = models.CharField(max_length=200, unique=True)
    at = models.DateTimeField()
    body = models.TextField(help_text="The JSON that is posted, byte for byte.")

    objects: ClassVar[models.Manager["OutgoingEvent"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.type} ({self.cause.partition(':')[2]})"

    @property
    def webhook_id(self) -> str:
        return f"msg_{self.uid.hex}"


class Delivery(models.Model):
    """An event for one endpoint, or an e-mail. A row is taken by setting when it is tried next."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Given up"

    event = models.ForeignKey(OutgoingEvent, on_delete=models.PROTECT, null=True, blank=True, related_name="deliveries")
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries"
    )
    cause = models.CharField(max_length=200, unique=True, null=True, blank=True)
    to = ArrayField(models.EmailField(), default=list, blank=True)
    subject = models.CharField(max_length=300, blank=True)
    text = models.TextField(blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.WAITING)
    created_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    last_status = models.PositiveIntegerField("last answer", null=True, blank=True)
    last_error = models.TextField(blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["Delivery"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "deliveries"
        permissions = [("replay_delivery", "Can send deliveries again")]
        constraints = [
            models.CheckConstraint(
                name="deliveries_go_somewhere",
                condition=Q(endpoint__isnull=False, event__isnull=False) | Q(endpoint__isnull=True, to__len__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(state="waiting"), name="deliveries_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.event or self.subject} to {self.endpoint or ', '.join(self.to)}"


class DeliveryAttempt(models.Model):
    """One try of a delivery."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries")
    at = models.DateTimeField()
    status = models.PositiveIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    milliseconds = models.PositiveIntegerField(default=0)

    objects: ClassVar[models.Manager["DeliveryAttempt"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S}: {self.status or self.error}"


class InvoiceReminder(models.Model):
    """A reminder of an invoice, `days` after it fell due (below zero: before). Each once."""

    invoice = models.ForeignKey("invoicing.Invoice", on_delete=models.CASCADE, related_name="reminders")
    days = models.IntegerField()
    at = models.DateTimeField()

    objects: ClassVar[models.Manager["InvoiceReminder"]] = models.Manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["invoice", "days"], name="one_reminder_per_day_set")]

    def __str__(self) -> str:
        return f"{self.invoice}, {self.days} days"
