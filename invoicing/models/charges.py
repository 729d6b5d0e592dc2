"""How often a card was asked for an invoice, and what came of it."""

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from invoicing.models.invoices import Invoice


class ChargeAttempt(models.Model):
    """One attempt at charging an invoice through Stripe. The one without an outcome is still to come, at `due_at`.

    `calls` is written before Stripe is called; `key` and `generation` make its idempotency key.
    """

    class Outcome(models.TextChoices):
        TO_COME = "", "To come"
        PAID = "paid", "Paid"
        REFUSED = "refused", "Refused"
        UNDER_WAY = "under_way", "Under way"
        DROPPED = "dropped", "Not needed any more"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="charge_attempts")
    number = models.PositiveSmallIntegerField()
    due_at = models.DateTimeField("due")
    outcome = models.CharField(max_length=20, choices=Outcome, blank=True, default=Outcome.TO_COME)
    message = models.TextField(blank=True, help_text="What Stripe said.")
    calls = models.PositiveIntegerField(default=0)
    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    generation = models.PositiveSmallIntegerField(default=0, editable=False)
    ended_at = models.DateTimeField("ended", null=True, blank=True)

    objects: ClassVar[models.Manager["ChargeAttempt"]]

    class Meta:
        ordering = ["-pk"]
        verbose_name = "charge of an invoice"
        verbose_name_plural = "charges of invoices"
        constraints = [
            models.UniqueConstraint(fields=["invoice", "number"], name="charges_are_numbered"),
            models.UniqueConstraint(fields=["invoice"], condition=Q(outcome=""), name="one_charge_is_to_come"),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(outcome=""), name="charges_to_come")]

    def __str__(self) -> str:
        return f"Charge {self.number} of {self.invoice}"
