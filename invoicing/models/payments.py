"""Money that came in for an issued invoice, or went back. Append-only: what is paid is the sum of the entries."""

from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField
from invoicing.models.invoices import Invoice


class Payment(models.Model):
    """An amount in the invoice's currency; one that bounced or was paid back is an entry of its own, below zero.

    `source` names where it came from (`stripe:pi_123`, `hand:` and a key of the form that recorded it) and is unique:
    recording it again changes nothing.
    """

    class Method(models.TextChoices):
        BANK_TRANSFER = "bank_transfer", "Bank transfer"
        STRIPE = "stripe", "Stripe"
        OTHER = "other", "Other"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    amount = ExactField(help_text="In the invoice's currency; below zero when it went back.")
    method = models.CharField(max_length=20, choices=Method, default=Method.BANK_TRANSFER)
    reference = models.CharField(max_length=200, blank=True, help_text="As it stands on the bank statement.")
    received_at = models.DateTimeField()
    source = models.CharField(max_length=200, unique=True)
    reverses = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="reversed_by", editable=False
    )
    recorded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    recorded_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Payment"]]

    class Meta:
        ordering = ["invoice", "pk"]
        constraints = [models.CheckConstraint(name="payments_are_not_zero", condition=~Q(amount=0))]
        triggers = [pgtrigger.Protect(name="append_only_payments", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.amount} for {self.invoice}"
