"""Usage of periods that were invoiced before it was known, and what becomes of it."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField
from billing_project.history import tracked
from contracts.models import BillingPeriod
from invoicing.models.added_lines import AddedLine
from invoicing.models.credit_notes import CreditNote
from invoicing.models.invoices import Invoice


@tracked()
class LateUsage(models.Model):
    """What a billed period comes to more (or less) than was billed of it, for one product, group and slice.

    `quantity_before` and `amount` count from everything billed and found until then, so the rows of a period add up.
    Superseded rows count no more: the invoice they corrected, or were billed on, was voided.
    """

    class Decision(models.TextChoices):
        PENDING = "pending", "To be decided"
        NEXT_INVOICE = "next_invoice", "On the next invoice"
        CREDIT_NOTE = "credit_note", "Credit note"
        WRITE_OFF = "write_off", "Written off"
        SUPERSEDED = "superseded", "Superseded"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="late_usage")
    period = models.ForeignKey(BillingPeriod, on_delete=models.PROTECT, related_name="late_usage")
    product = models.CharField(max_length=200, blank=True)
    name = models.CharField(max_length=200)
    group = models.JSONField(default=dict, blank=True)
    starting_at = models.DateTimeField()
    ending_before = models.DateTimeField()
    quantity_before = ExactField()
    quantity_after = ExactField()
    amount = ExactField(help_text="What is still to be billed, in the invoice's currency before tax; may be negative.")
    found_at = models.DateTimeField(auto_now_add=True)
    decision = models.CharField(max_length=20, choices=Decision, default=Decision.NEXT_INVOICE)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)
    added_line = models.OneToOneField(
        AddedLine, on_delete=models.PROTECT, null=True, blank=True, related_name="late_usage", editable=False
    )
    credit_note = models.OneToOneField(
        CreditNote, on_delete=models.PROTECT, null=True, blank=True, related_name="late_usage", editable=False
    )

    objects: ClassVar[models.Manager["LateUsage"]]

    class Meta:
        ordering = ["-pk"]
        verbose_name_plural = "late usage"
        permissions = [("decide_late_usage", "Can decide what becomes of late usage")]
        constraints = [
            models.CheckConstraint(
                name="late_usage_is_billed_as_decided",
                condition=Q(added_line=None, credit_note=None)
                | Q(added_line__isnull=False, credit_note=None, decision__in=["next_invoice", "superseded"])
                | Q(credit_note__isnull=False, added_line=None, decision__in=["credit_note", "superseded"]),
            )
        ]
        indexes = [
            models.Index(
                name="late_usage_waiting",
                fields=["period"],
                condition=Q(decision__in=["pending", "next_invoice"], added_line=None),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.invoice}"

    @property
    def cause(self) -> str:
        return f"late-usage:{self.pk}"
