"""What is owed: invoices and their lines. An issued invoice is frozen, by triggers in the database too."""

from decimal import Decimal
from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from djmoney.models.fields import MoneyField

from billing_project.fields import ExactField, transaction_field
from billing_project.history import tracked
from catalog.money import add, subtract
from contracts.models import BillingPeriod, Contract, Customer


class Status(models.TextChoices):
    DRAFT = "draft", "Draft"
    IN_REVIEW = "in_review", "In review"
    APPROVED = "approved", "Approved"
    ISSUED = "issued", "Issued"
    PAID = "paid", "Paid"
    VOID = "void", "Void"
    UNCOLLECTIBLE = "uncollectible", "Uncollectible"


OPEN = (Status.DRAFT, Status.IN_REVIEW, Status.APPROVED)
FROZEN = (Status.ISSUED, Status.PAID, Status.VOID, Status.UNCOLLECTIBLE)
# All that may still change once an invoice is issued: what was paid and credited, how it ended, and when.
LIVING_FIELDS = ("status", "paid_at", "paid_amount", "credited_amount")
# The invoices `i` that are open, or that were at an instant.
OPEN_AT = """
CASE WHEN %(known_at)s::timestamptz IS NULL THEN i.status IN ('draft', 'in_review', 'approved')
     ELSE i.created_at <= %(known_at)s::timestamptz AND (i.issued_at > %(known_at)s::timestamptz OR i.issued_at IS NULL)
END
"""


class NumberSeries(models.Model):
    """A series of invoice numbers without gaps; the row is locked from taking a number until it is committed."""

    prefix = models.CharField(max_length=40, primary_key=True)
    last_number = models.PositiveBigIntegerField(default=0)

    objects: ClassVar[models.Manager["NumberSeries"]]

    class Meta:
        verbose_name_plural = "number series"

    def __str__(self) -> str:
        return self.prefix


# Exports read the changes of issued invoices from their history.
@tracked(
    attrs={"xid": transaction_field()},
    meta={"indexes": [models.Index(fields=["xid"], condition=~Q(status__in=OPEN), name="invoice_changes_by_xid")]},
)
class Invoice(models.Model):
    """The invoice of a billing period. Drafts follow usage and terms; from issue on everything shown is a copy of its
    own.
    """

    class Kind(models.TextChoices):
        USAGE = "usage", "Usage"
        SCHEDULED = "scheduled", "Scheduled"
        THRESHOLD = "threshold", "Threshold"

    kind = models.CharField(max_length=20, choices=Kind, default=Kind.USAGE)
    status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
    number = models.CharField(max_length=60, unique=True, null=True, blank=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="invoices")
    payer = models.ForeignKey(
        Customer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="invoices_to_pay",
        help_text="Whom it is addressed to, if not the customer: the customer above it that pays.",
    )
    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="invoices")
    period = models.ForeignKey(
        BillingPeriod,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="invoices",
        help_text="The billing period of a usage or threshold invoice.",
    )
    scheduled_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the fees of a scheduled invoice fall due, or when spend reached the threshold.",
    )
    starting_at = models.DateTimeField()
    ending_before = models.DateTimeField()
    subtotal = MoneyField(max_digits=30, decimal_places=3, currency_choices=None, currency_field_name="currency")
    discount = ExactField(default=0)
    credits_applied = ExactField(default=0)
    tax = ExactField(default=0)
    already_invoiced = ExactField(default=0)
    total = MoneyField(max_digits=30, decimal_places=3, currency_choices=None, currency_field_name="currency")
    unrated = models.JSONField(default=list, blank=True)
    draws = models.JSONField(default=list, blank=True, help_text="What issuing it takes from balances.")
    taxes = models.JSONField(default=list, blank=True, help_text="What is due by each rate of tax, and on what.")
    purchase_order = models.CharField(max_length=100, blank=True, help_text="The customer's reference when issued.")
    attention = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    bill_to = models.JSONField(default=dict, blank=True)
    seller = models.JSONField(default=dict, blank=True)
    net_days = models.PositiveSmallIntegerField(default=30)
    created_at = models.DateTimeField(auto_now_add=True)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    issued_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    issued_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(null=True, blank=True)
    paid_at = models.DateTimeField(null=True, blank=True)
    paid_amount = ExactField(default=0, editable=False, help_text="The sum of its payments.")
    credited_amount = ExactField(default=0, editable=False, help_text="The sum of its issued credit notes.")
    hold_reason = models.TextField(blank=True, editable=False, help_text="Why it was rejected in review.")
    replaces = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by", editable=False
    )

    objects: ClassVar[models.Manager["Invoice"]] = models.Manager()

    class Meta:
        ordering = ["-ending_before", "customer__name"]
        permissions = [
            ("approve_invoice", "Can approve invoices"),
            ("issue_invoice", "Can issue invoices"),
            ("void_invoice", "Can void invoices and write them off"),
            ("record_payment", "Can record payments"),
            ("credit_invoice", "Can ask for and issue credit notes"),
            ("add_line", "Can write lines by hand"),
            ("retry_stripe", "Can try exchanges with Stripe again"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["period", "kind"],
                condition=~Q(status="void") & ~Q(kind="threshold"),
                name="one_invoice_per_period_and_kind",
            ),
            models.UniqueConstraint(
                fields=["period", "scheduled_at"],
                condition=~Q(status="void") & Q(kind="threshold"),
                name="one_threshold_invoice_per_instant",
            ),
            models.CheckConstraint(
                name="usage_invoices_have_a_period",
                condition=Q(kind="usage", period__isnull=False, scheduled_at__isnull=True)
                | Q(kind="scheduled", period__isnull=True, scheduled_at__isnull=False)
                | Q(kind="threshold", period__isnull=False, scheduled_at__isnull=False),
            ),
            models.CheckConstraint(
                name="issued_invoices_are_numbered",
                condition=Q(status__in=OPEN, number__isnull=True)
                | Q(status__in=FROZEN, number__isnull=False, issued_at__isnull=False),
            ),
        ]
        indexes = [models.Index(fields=["status", "ending_before"])]
        triggers = [
            pgtrigger.Protect(
                name="keep_issued",
                operation=pgtrigger.Delete,
                condition=pgtrigger.Q(old__status__in=FROZEN),
            ),
            pgtrigger.Trigger(
                name="freeze_issued",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__status__in=FROZEN),
                func=f"""
                    IF to_jsonb(OLD) - '{{{",".join(LIVING_FIELDS)}}}'::text[]
                        <> to_jsonb(NEW) - '{{{",".join(LIVING_FIELDS)}}}'::text[] THEN
                        RAISE EXCEPTION 'pgtrigger: invoice % is issued; only its status can change', OLD.number;
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.FSM(
                name="status_order",
                field="status",
                transitions=[
                    ("draft", "in_review"),
                    ("in_review", "approved"),
                    ("approved", "in_review"),
                    ("approved", "issued"),
                    ("issued", "paid"),
                    ("issued", "void"),
                    ("issued", "uncollectible"),
                    ("paid", "issued"),
                    ("uncollectible", "paid"),
                    ("paid", "uncollectible"),
                    ("uncollectible", "issued"),
                    ("uncollectible", "void"),
                ],
            ),
        ]

    def __str__(self) -> str:
        return self.number or f"{self.get_status_display()} for {self.customer}"

    @property
    def paid_by(self) -> Customer:
        return self.payer or self.customer

    @property
    def buys_ahead(self) -> bool:
        """Whether credit goes on being given against its payment: a threshold invoice, or a recharge."""
        return self.kind == Invoice.Kind.THRESHOLD or hasattr(self, "recharge")

    @property
    def frozen(self) -> bool:
        return self.status in FROZEN

    @property
    def open_amount(self) -> Decimal:
        """What is still to be paid; below zero the customer has money to get back."""
        return subtract(self.total.amount, add([self.paid_amount, self.credited_amount]))


def _frozen_lines(verb: str, operation: pgtrigger.Operation, **tables: str) -> pgtrigger.Trigger:
    """Refuses a statement that touches a line of an issued invoice. It looks once at all lines of the statement: a
    close writes thousands.
    """
    lines = " UNION ALL ".join(f"SELECT invoice_id FROM {table}" for table in tables.values())  # noqa: S608
    return pgtrigger.Trigger(
        name=f"issued_{verb}_no_line",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=operation,
        referencing=pgtrigger.Referencing(**tables),
        func=f"""
            IF EXISTS (
                SELECT 1 FROM invoicing_invoice
                WHERE id IN ({lines}) AND status NOT IN ('draft', 'in_review', 'approved')
            ) THEN
                RAISE EXCEPTION 'pgtrigger: the invoice of this line is issued; its lines cannot change';
            END IF;
            RETURN NULL;
        """,  # noqa: S608
    )


class InvoiceLine(models.Model):
    """A line of an invoice, with everything needed to compute it again and to find its events."""

    invoice = models.ForeignKey(Invoice, on_delete=models.CASCADE, related_name="lines")
    position = models.PositiveIntegerField()
    kind = models.CharField(max_length=30)
    product = models.CharField(max_length=200)
    name = models.CharField(max_length=200)
    group = models.JSONField(default=dict, blank=True)
    starting_at = models.DateTimeField()
    ending_before = models.DateTimeField()
    meter = models.CharField(max_length=200, blank=True)
    aggregation = models.CharField(max_length=20, blank=True)
    events = models.PositiveBigIntegerField(default=0)
    quantity = ExactField()
    billed_quantity = ExactField()
    prior_quantity = ExactField(null=True, blank=True)
    unit_amount = ExactField(null=True, blank=True)
    amount = ExactField()
    amount_exact = ExactField()
    tiers = models.JSONField(default=list, blank=True)
    source = models.CharField(max_length=300, blank=True)
    rate = models.CharField(max_length=200, blank=True)
    price = models.JSONField(null=True, blank=True)
    unit = models.CharField(max_length=200, blank=True, help_text="The pricing unit of the amounts, if not currency.")
    balance = models.CharField(max_length=200, blank=True, help_text="The commit or credit that pays or is drawn.")
    segment = models.CharField(max_length=40, blank=True)
    share = ExactField(null=True, blank=True, help_text="The part of the price's charge the line is for.")
    subscription = models.CharField(max_length=200, blank=True)
    tax_key = models.CharField(max_length=200, blank=True, help_text="The rate of tax that holds for it.")
    gross_amount = ExactField(null=True, blank=True, help_text="With the tax its price included; empty: before tax.")

    objects: ClassVar[models.Manager["InvoiceLine"]]

    class Meta:
        ordering = ["invoice", "position"]
        constraints = [models.UniqueConstraint(fields=["invoice", "position"], name="one_line_per_position")]
        triggers = [
            _frozen_lines("add", pgtrigger.Insert, new="written"),
            _frozen_lines("change", pgtrigger.Update, old="written", new="also_written"),
            _frozen_lines("delete", pgtrigger.Delete, old="written"),
        ]

    def __str__(self) -> str:
        return f"{self.position} {self.name}"
