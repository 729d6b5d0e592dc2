"""What Stripe Tax said about an invoice, and what it was told since."""

from typing import ClassVar

from django.db import models

from invoicing.models.invoices import Invoice


class TaxAnswer(models.Model):
    """The tax of an invoice by Stripe Tax, asked for before it was issued: of what no earlier invoice of the period has
    billed. `asked` is the request; the same request is not asked again.
    """

    invoice = models.OneToOneField(Invoice, on_delete=models.CASCADE, related_name="tax_answer")
    calculation = models.CharField("calculation in Stripe", max_length=255)
    asked = models.JSONField(default=dict)
    taxes = models.JSONField(default=list)
    asked_at = models.DateTimeField(auto_now=True)
    transaction = models.CharField("tax transaction in Stripe", max_length=255, blank=True)
    taken_back = models.JSONField(default=list, help_text="The reversals Stripe was told of, by their reference.")

    objects: ClassVar[models.Manager["TaxAnswer"]]

    class Meta:
        ordering = ["-pk"]
        verbose_name = "tax by Stripe"
        verbose_name_plural = "taxes by Stripe"

    def __str__(self) -> str:
        return f"Tax of {self.invoice}"
