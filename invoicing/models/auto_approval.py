"""Rules under which an invoice needs nobody's look."""

from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models

from billing_project.fields import ExactField
from billing_project.history import tracked
from catalog.models import currency_code


@tracked()
class AutoApproval(models.Model):
    """Approves invoices with nothing to note, of one currency, up to a total, near enough to the last one."""

    currency = models.CharField(max_length=3, validators=[currency_code], help_text="ISO 4217 code.")
    largest_total = ExactField(
        validators=[MinValueValidator(0)], help_text="Invoices above this total need somebody's look."
    )
    largest_change_percent = ExactField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="Against the last invoice of the contract; without one before it never. Empty: any change.",
    )
    active = models.BooleanField(default=True)

    objects: ClassVar[models.Manager["AutoApproval"]]

    class Meta:
        ordering = ["currency", "largest_total"]
        verbose_name = "auto-approval rule"

    def __str__(self) -> str:
        return f"auto-approval rule {self.pk} ({self.currency} up to {self.largest_total})"
