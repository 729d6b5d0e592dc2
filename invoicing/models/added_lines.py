"""Lines that no usage and no term of the contract gives: written by hand, or correcting an earlier invoice."""

from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import Q

from billing_project.fields import ExactField
from billing_project.history import tracked
from invoicing.models.invoices import Invoice


@tracked()
class AddedLine(models.Model):
    """A line added to an invoice that is still open; it becomes part of its statement, before tax.

    `cause` names what made it (`late-usage:12`), unique; a line written by hand has an author instead, who may not
    approve the invoice.
    """

    class Kind(models.TextChoices):
        MANUAL = "manual", "Written by hand"
        CORRECTION = "correction", "Correction"

    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="added_lines")
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.MANUAL)
    product = models.CharField(max_length=200, blank=True, help_text="Key of a product, for reports; may be empty.")
    name = models.CharField(max_length=200, help_text="As it stands on the invoice.")
    group = models.JSONField(default=dict, blank=True)
    starting_at = models.DateTimeField(null=True, blank=True, help_text="Empty: the invoice's own period.")
    ending_before = models.DateTimeField(null=True, blank=True)
    quantity = ExactField(default=1)
    unit_amount = ExactField(null=True, blank=True)
    amount = ExactField(help_text="In the invoice's currency, before tax; below zero takes off.")
    amount_exact = ExactField()
    reason = models.TextField(help_text="Why, for those who look later.")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    cause = models.CharField(max_length=200, unique=True, null=True, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["AddedLine"]]

    class Meta:
        ordering = ["invoice", "pk"]
        constraints = [
            models.CheckConstraint(
                name="added_lines_have_an_author_or_a_cause",
                condition=Q(author__isnull=False) | Q(cause__isnull=False),
            )
        ]
        triggers = [
            pgtrigger.Trigger(
                name="freeze_added_lines",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
                func="""
                    IF EXISTS (
                        SELECT 1 FROM invoicing_invoice
                        WHERE id IN (COALESCE(NEW.invoice_id, OLD.invoice_id), COALESCE(OLD.invoice_id, NEW.invoice_id))
                        AND status NOT IN ('draft', 'in_review', 'approved')
                    ) THEN
                        RAISE EXCEPTION 'pgtrigger: the invoice of this line is issued; nothing can be added to it';
                    END IF;
                    IF TG_OP = 'DELETE' THEN
                        RETURN OLD;
                    END IF;
                    RETURN NEW;
                """,
            )
        ]

    def __str__(self) -> str:
        return self.name
