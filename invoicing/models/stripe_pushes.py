"""What became of customers and invoices in Stripe, and what Stripe told us. Every row can be resumed after a kill."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from billing_project.history import tracked
from contracts.models import Customer
from invoicing.models.credit_notes import CreditNote
from invoicing.models.invoices import Invoice
from invoicing.models.payments import Payment


@tracked(exclude=["pushed", "tried"])
class StripeCustomer(models.Model):
    """How a customer pays through Stripe, and who it is there."""

    class Collection(models.TextChoices):
        DEFAULT = "", "As the installation says"
        SEND = "send_invoice", "Send the invoice"
        CHARGE = "charge_automatically", "Charge the payment method on file"

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="in_stripe")
    collection = models.CharField(
        max_length=20, choices=Collection, blank=True, default=Collection.DEFAULT, help_text="How invoices are paid."
    )
    stripe_id = models.CharField(
        "customer in Stripe",
        max_length=255,
        unique=True,
        null=True,
        blank=True,
        help_text="Such as cus_123. Empty: one is made with the first invoice.",
    )
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    pushed = models.JSONField(default=dict, blank=True, editable=False)
    tried = models.BooleanField(default=False, editable=False)

    objects: ClassVar[models.Manager["StripeCustomer"]]

    class Meta:
        ordering = ["customer__name"]
        verbose_name = "customer in Stripe"
        verbose_name_plural = "customers in Stripe"

    def __str__(self) -> str:
        return f"{self.customer} in Stripe"


class StripePush(models.Model):
    """One thing to tell Stripe about an invoice. The rows of an invoice are taken one after the other.

    `attempts` is written before Stripe is called: a row tried before first looks at what Stripe already has. `key`
    names the object in Stripe, `generation` the idempotency keys: a new one is needed where Stripe would repeat a
    stored error.
    """

    class Step(models.TextChoices):
        INVOICE = "invoice", "Push the invoice"
        CREDIT_NOTE = "credit_note", "Push a credit note"
        PAYMENT = "payment", "Report a payment by hand"
        PAID = "paid", "Mark as paid elsewhere"
        UNCOLLECTIBLE = "uncollectible", "Mark as uncollectible"
        VOID = "void", "Void"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="stripe_pushes")
    step = models.CharField(max_length=20, choices=Step)
    credit_note = models.OneToOneField(
        CreditNote, on_delete=models.PROTECT, null=True, blank=True, related_name="stripe_push"
    )
    payment = models.OneToOneField(Payment, on_delete=models.PROTECT, null=True, blank=True, related_name="stripe_push")
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    generation = models.PositiveSmallIntegerField(default=0, editable=False)
    intent = models.JSONField(default=dict, blank=True, editable=False)
    stripe_id = models.CharField("id in Stripe", max_length=255, blank=True, db_index=True)
    stripe_status = models.CharField("status in Stripe", max_length=20, blank=True)
    hosted_url = models.URLField("page to pay on", max_length=2000, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    last_error = models.TextField(blank=True)
    blocked = models.BooleanField(default=False, help_text="Waits for a person: an error nobody foresaw.")
    charged_here = models.BooleanField(
        default=False, editable=False, help_text="Stripe does not collect by itself: we ask it to, by our own schedule."
    )
    warning = models.TextField(blank=True, help_text="What Stripe says and the books do not.")
    done_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["StripePush"]]

    class Meta:
        ordering = ["pk"]
        verbose_name = "exchange with Stripe"
        verbose_name_plural = "exchanges with Stripe"
        constraints = [
            models.UniqueConstraint(
                fields=["invoice", "step"],
                condition=~Q(step__in=["credit_note", "payment"]),
                name="one_stripe_push_per_step",
            ),
            models.CheckConstraint(
                name="stripe_credit_notes_have_a_note",
                condition=Q(step="credit_note", credit_note__isnull=False)
                | (~Q(step="credit_note") & Q(credit_note__isnull=True)),
            ),
            models.CheckConstraint(
                name="stripe_payments_have_a_payment",
                condition=Q(step="payment", payment__isnull=False) | (~Q(step="payment") & Q(payment__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(done_at__isnull=True), name="stripe_pushes_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.get_step_display()}: {self.credit_note or self.payment or self.invoice}"


class StripeEvent(models.Model):
    """An event that Stripe sent, kept as it came. One that cannot be used yet waits until it can.

    `subject` is what it is about: the payment behind an invoice payment or a refund, else the object itself.
    """

    stripe_id = models.CharField("id in Stripe", max_length=255, unique=True)
    type = models.CharField(max_length=100)
    subject = models.CharField(max_length=255, blank=True, db_index=True)
    created = models.DateTimeField(help_text="When it happened, says Stripe.")
    payload = models.JSONField()
    received_at = models.DateTimeField(auto_now_add=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=300, blank=True)
    mirrored_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["StripeEvent"]]

    class Meta:
        ordering = ["-pk"]
        verbose_name = "event from Stripe"
        verbose_name_plural = "events from Stripe"
        indexes = [
            models.Index(fields=["id"], condition=Q(applied_at__isnull=True), name="stripe_events_to_apply"),
            models.Index(fields=["id"], condition=Q(mirrored_at__isnull=True), name="stripe_events_to_mirror"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"


class MirroredObject(models.Model):
    """An object of Stripe's that dj-stripe's tables hold a copy of. `error`: why the copy is not up to date."""

    stripe_id = models.CharField("id in Stripe", max_length=255, unique=True)
    kind = models.CharField(max_length=40)
    as_of = models.DateTimeField("as of", help_text="When it stood so, by Stripe's clock.")
    mirrored_at = models.DateTimeField("copied", auto_now=True)
    error = models.TextField(blank=True)

    objects: ClassVar[models.Manager["MirroredObject"]]

    class Meta:
        ordering = ["-pk"]
        verbose_name = "object in Stripe"
        verbose_name_plural = "objects in Stripe"

    def __str__(self) -> str:
        return f"{self.kind} {self.stripe_id}"
