"""Who moved an invoice, when and why. Append-only."""

from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.db import models

from invoicing.models.invoices import Invoice


class InvoiceStep(models.Model):
    """One step of an invoice's life. Without an actor a rule took it, which `reason` names."""

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="steps")
    step = models.CharField(max_length=40)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["InvoiceStep"]]

    class Meta:
        ordering = ["invoice", "pk"]
        triggers = [pgtrigger.Protect(name="append_only_steps", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.step} of {self.invoice}"
