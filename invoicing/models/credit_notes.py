"""Credit notes: what an issued invoice is made less by. Frozen once issued, in the database too."""

from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField, transaction_field
from billing_project.history import tracked
from invoicing.models.invoices import Invoice, InvoiceLine


@tracked(
    attrs={"xid": transaction_field()},
    meta={"indexes": [models.Index(fields=["xid"], condition=Q(status="issued"), name="credit_notes_by_xid")]},
)
class CreditNote(models.Model):
    """Part or all of an invoice, credited line by line. One person asks for it, another issues it under a number of
    its own series.
    """

    class Status(models.TextChoices):
        REQUESTED = "requested", "Requested"
        ISSUED = "issued", "Issued"
        REJECTED = "rejected", "Rejected"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="credit_notes")
    status = models.CharField(max_length=20, choices=Status, default=Status.REQUESTED)
    number = models.CharField(max_length=60, unique=True, null=True, blank=True)
    reason = models.TextField(help_text="Shown to the customer.")
    subtotal = ExactField(help_text="What is credited before tax, above zero.")
    tax = ExactField(default=0)
    taxes = models.JSONField(default=list, blank=True, help_text="What is taken back of each rate of tax.")
    total = ExactField()
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    requested_at = models.DateTimeField(auto_now_add=True)
    issued_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    issued_at = models.DateTimeField(null=True, blank=True)
    bill_to = models.JSONField(default=dict, blank=True)
    seller = models.JSONField(default=dict, blank=True)
    cause = models.CharField(max_length=200, unique=True, null=True, blank=True, editable=False)

    objects: ClassVar[models.Manager["CreditNote"]]

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                name="issued_credit_notes_are_numbered",
                condition=Q(status="issued", number__isnull=False, issued_at__isnull=False)
                | (~Q(status="issued") & Q(number__isnull=True)),
            ),
            models.CheckConstraint(name="credit_notes_credit_something", condition=Q(total__gt=0)),
        ]
        triggers = [
            pgtrigger.Protect(
                name="freeze_issued_credit_notes",
                operation=pgtrigger.Update | pgtrigger.Delete,
                condition=pgtrigger.Q(old__status="issued"),
            )
        ]

    def __str__(self) -> str:
        return self.number or f"{self.get_status_display()} for {self.invoice}"


class CreditNoteLine(models.Model):
    """What is credited of one line of the invoice, above zero, before tax. Never changed."""

    credit_note = models.ForeignKey(CreditNote, on_delete=models.CASCADE, related_name="lines")
    # The database refuses to delete a credited line; Django looking for such lines first would slow every rebuild.
    line = models.ForeignKey(InvoiceLine, on_delete=models.DO_NOTHING, related_name="credited")
    amount = ExactField()

    objects: ClassVar[models.Manager["CreditNoteLine"]]

    class Meta:
        ordering = ["credit_note", "line__position"]
        constraints = [
            models.UniqueConstraint(fields=["credit_note", "line"], name="one_credit_per_line_and_note"),
            models.CheckConstraint(name="credits_are_above_zero", condition=Q(amount__gt=0)),
        ]
        triggers = [pgtrigger.Protect(name="keep_credited_lines", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.amount} of {self.line}"
