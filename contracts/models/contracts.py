"""Contracts and their billing periods."""

import json
from collections.abc import Collection
from functools import lru_cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from billing_project.fields import key_field
from billing_project.history import tracked
from catalog.models import Rate, RateCard, TimestampRange, currency_code
from contracts.catalog_terms import catalog_of
from contracts.deal import NOTHING_AGREED, Deal
from contracts.deal_format import Catalog, DealError, deal_as_dict, parse_deal
from contracts.models.customers import Customer, Families, below, shared_commit_keys, timezone_name
from contracts.proration import Calendar
from contracts.shared_terms import billed_by
from meters.periods import CALENDAR_ANCHOR


class Every(models.TextChoices):
    DAY = "day", "Day"
    WEEK = "week", "Week"
    MONTH = "month", "Month"
    QUARTER = "quarter", "Quarter"
    YEAR = "year", "Year"


class Anchor(models.TextChoices):
    CALENDAR = "calendar", "Calendar (the 1st, Monday, 1 January)"
    CONTRACT = "contract", "Start of the contract"
    DATE = "date", "A date"


class Standing(models.TextChoices):
    """Whether a contract is agreed. Only an active one bills."""

    DRAFT = "draft", "Draft"
    AWAITING_APPROVAL = "awaiting_approval", "Awaiting approval"
    ACTIVE = "active", "Active"


# Many contracts agree the same: those of a template, or of a standard offer.
KEPT_DEALS = 500

# The parts of a deal that bill at instants of their own.
SCHEDULING = {"commits", "recurring_commits", "subscriptions", "charges"}
PERIOD_FIELDS = ("starting_at", "timezone", "billing_every", "billing_anchor", "anchor_date")


@lru_cache(maxsize=KEPT_DEALS)
def _read_deal(text: str, timezone: str) -> Deal:
    return parse_deal(json.loads(text), ZoneInfo(timezone))


@tracked()
class Contract(models.Model):
    """A customer's terms for a span of time: rate card, billing calendar, payment terms. One currency."""

    key = key_field()
    name = models.CharField(max_length=200, blank=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="contracts")
    renews = models.OneToOneField(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="renewal",
        help_text="The contract this one goes on from: what is left of its commits may roll over into this one.",
    )
    rate_card = models.ForeignKey(RateCard, on_delete=models.PROTECT, related_name="contracts")
    currency = models.CharField(
        max_length=3,
        blank=True,
        validators=[currency_code],
        help_text="ISO 4217 code. Empty: the rate card's. It cannot change.",
    )
    starting_at = models.DateTimeField(help_text="The first instant of the contract.")
    ending_before = models.DateTimeField(null=True, blank=True, help_text="The first instant after it. Empty: open.")
    timezone = models.CharField(
        max_length=64, blank=True, validators=[timezone_name], help_text="Empty: the customer's."
    )
    billing_every = models.CharField("billed every", max_length=10, choices=Every, default=Every.MONTH)
    billing_anchor = models.CharField("periods start at", max_length=10, choices=Anchor, default=Anchor.CALENDAR)
    anchor_date = models.DateField(null=True, blank=True, help_text="A day on which a period starts.")
    net_days = models.PositiveSmallIntegerField(
        default=30, help_text="Days from the invoice date until payment is due."
    )
    purchase_order = models.CharField(
        max_length=100, blank=True, help_text="The customer's order number or reference, as it stands on the invoice."
    )
    deal = models.JSONField(
        default=dict,
        blank=True,
        help_text="What was negotiated beyond the rate card, as in the billing file: commits, overrides, seats.",
    )
    shadow = models.BooleanField(
        default=False, help_text="Bills nothing: its statements stand beside those of the contract in force."
    )
    template = models.ForeignKey(
        "contracts.ContractTemplate",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        editable=False,
        related_name="contracts",
        help_text="The package it was signed from; its terms are the contract's own since.",
    )
    status = models.CharField(max_length=20, choices=Standing, default=Standing.ACTIVE, editable=False)
    status_note = models.TextField(blank=True, editable=False, help_text="Why it was approved or sent back.")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="+"
    )
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)
    bills_all_usage = models.BooleanField(default=True, editable=False)
    next_fees_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="No scheduled fee falls due before this; empty: none ever."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Contract"]]

    class Meta:
        ordering = ["customer__name", "-starting_at"]
        permissions = [("approve_contract", "Can approve deals beyond the guardrails")]
        constraints = [
            models.CheckConstraint(
                name="contract_ends_after_it_starts",
                condition=Q(ending_before__isnull=True) | Q(ending_before__gt=models.F("starting_at")),
                violation_error_message="A contract must end after it starts.",
            ),
            # Two contracts over the same instant would bill the same usage twice.
            ExclusionConstraint(
                name="contracts_do_not_overlap",
                expressions=[
                    ("customer", RangeOperators.EQUAL),
                    (TimestampRange("starting_at", "ending_before"), RangeOperators.OVERLAPS),
                ],
                condition=Q(bills_all_usage=True),
                violation_error_message="Overlaps another contract of this customer.",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.key

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._fill_defaults()
        super().save(*args, **kwargs)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def parsed_deal(self) -> Deal:
        if not self.deal:
            return NOTHING_AGREED
        try:
            return _read_deal(json.dumps(self.deal), self.timezone)
        except TypeError:  # not saved yet: it may hold more than JSON does
            return parse_deal(self.deal, self.zone)

    @property
    def calendar(self) -> Calendar:
        return Calendar(self.zone, self.starting_at, self.ending_before, self.billing_every, self.anchor)

    @property
    def anchor(self) -> Any:
        """The local date billing periods are counted from."""
        if self.billing_anchor == Anchor.CONTRACT:
            return self.starting_at.astimezone(self.zone).date()
        return self.anchor_date if self.billing_anchor == Anchor.DATE else CALENDAR_ANCHOR

    def clean(self) -> None:
        self._fill_defaults()
        if self.starting_at and self.ending_before and self.ending_before <= self.starting_at:
            raise ValidationError({"ending_before": "A contract must end after it starts."})
        if self.billing_anchor == Anchor.DATE and not self.anchor_date:
            raise ValidationError({"anchor_date": "Give the date the periods start at, or choose another anchor."})
        if self.rate_card_id and self.currency and self.rate_card.currency != self.currency:
            raise ValidationError(
                {
                    "rate_card": f"The card is in {self.rate_card.currency}, the contract in {self.currency}: "
                    f"choose a card in {self.currency}."
                }
            )
        self._clean_deal()
        self._clean_overlap()
        self._clean_filter()
        self._clean_usage()
        self._clean_renewal()
        if self.pk:
            self._clean_change(Contract.objects.get(pk=self.pk))

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        # `clean` has looked for overlaps and named the other contract: without the customer the constraint is left out.
        super().validate_constraints(exclude={*(exclude or ()), "customer"})

    def _fill_defaults(self) -> None:
        if not self.timezone and self.customer_id:
            self.timezone = self.customer.timezone
        if not self.currency and self.rate_card_id:
            self.currency = self.rate_card.currency
        # A shadow bills nothing, and contracts that each take a part of the usage may stand side by side.
        self.bills_all_usage = not self.shadow and not self.deal.get("usage_filter")
        # Terms may have changed for any time, so the close looks at all of it again.
        scheduling = SCHEDULING & self.deal.keys() or self._bills_shared_commits()
        self.next_fees_at = self.starting_at if scheduling else None

    def _bills_shared_commits(self) -> bool:
        if not self.customer_id or not (self.customer.funds or self.customer.parent_id):
            return False
        line = Families([self.customer]).line(self.customer_id)
        return bool(billed_by(self.key, (each.shared_funds for each in line)))

    def _clean_deal(self) -> None:
        if not self.deal or not self.rate_card_id or not self.timezone:
            return
        try:
            self.deal = deal_as_dict(parse_deal(self.deal, self.zone, self._catalog()))
        except DealError as error:
            raise ValidationError({"deal": [str(fault) for fault in error.faults]}) from error

    def _catalog(self) -> Catalog:
        return catalog_of(self.rate_card, shared_commit_keys(self.customer) if self.customer_id else frozenset())

    def _clean_overlap(self) -> None:
        if not self.customer_id or not self.starting_at or not self.bills_all_usage:
            return
        other = self._beside().filter(customer=self.customer_id).first()
        if other:
            raise ValidationError({"starting_at": f"Overlaps contract {other.lasting}: end that one first."})

    @property
    def lasting(self) -> str:
        """The contract and its span, in the words of an error."""
        start, end = (each and each.astimezone(self.zone) for each in (self.starting_at, self.ending_before))
        return f"{self} ({start:%-d %B %Y} to {f'{end:%-d %B %Y}' if end else 'an open end'})"

    def _beside(self) -> models.QuerySet["Contract"]:
        """The other contracts that bill all usage of somebody in the same time."""
        return _lasting_beside(self, Contract.objects.filter(bills_all_usage=True))

    def _clean_filter(self) -> None:
        """Contracts that each take a part of a customer's usage do not take the same part."""
        if not self.customer_id or not self.starting_at or not self.rate_card_id or self.shadow:
            return
        others = Contract.objects.filter(customer=self.customer_id, shadow=False)
        for other in _lasting_beside(self, others):
            if self.bills_all_usage and other.bills_all_usage:
                continue
            mine, theirs = (each.deal.get("usage_filter", {}) for each in (self, other))
            apart = any(set(mine[key]).isdisjoint(theirs[key]) for key in mine.keys() & theirs.keys())
            if not apart and _meters_of(self) & _meters_of(other):
                message = f"takes usage that contract {other.lasting} takes too: name other values"
                raise ValidationError({"deal": [f"usage_filter: {message}"]})

    def _clean_usage(self) -> None:
        """Usage of a customer is billed once: by its own contract, or by one above it that names it."""
        if not self.customer_id or not self.starting_at:
            return
        named: list[str] = self.deal.get("usage_customers", [])
        found = {each.key: each for each in Customer.objects.filter(key__in=named)} if named else {}
        family = below([self.customer_id]) - {self.customer_id} if named else set()
        faults = []
        for index, key in enumerate(named):
            path = f"usage_customers[{index}]"
            if key not in found or found[key].pk not in family:
                faults.append(f"{path}: {key} is no customer below {self.customer.key}")
            elif key in named[:index]:
                faults.append(f"{path}: {key} is named twice")
            elif self.bills_all_usage:
                taken = Q(customer=found[key]) | Q(deal__usage_customers__contains=[key])
                others = self._beside().filter(taken)
                faults += [f"{path}: usage of {key} is billed by {each.lasting}" for each in others]
        if self.bills_all_usage and self.customer.parent_id:
            for each in self._beside().filter(deal__usage_customers__contains=[self.customer.key]):
                raise ValidationError({"starting_at": f"Usage of {self.customer} is billed by {each.lasting}."})
        if faults:
            raise ValidationError({"deal": faults})

    def _clean_renewal(self) -> None:
        old = self.renews
        if old is None or not self.customer_id:
            return
        if (old.customer_id, old.currency) != (self.customer_id, self.currency):
            raise ValidationError(
                {"renews": f"{old} is a contract of {old.customer} in {old.currency}: renew it with the same."}
            )
        if old.ending_before is None or old.ending_before != self.starting_at:
            ends = f"ends {old.ending_before.isoformat()}" if old.ending_before else "has no end"
            raise ValidationError({"renews": f"{old} {ends}; this one starts {self.starting_at.isoformat()}."})

    def _clean_change(self, saved: "Contract") -> None:
        """What is already billed stays as it was."""
        if saved.currency != self.currency:
            raise ValidationError({"currency": f"The contract is in {saved.currency}; its currency cannot change."})
        closed = self.billing_periods.filter(closed_at__isnull=False).order_by("ending_before").last()
        if closed is None:
            return
        for name in PERIOD_FIELDS:
            if getattr(saved, name) != getattr(self, name):
                raise ValidationError(
                    {name: "Periods of this contract are closed already: end it and write a new one."}
                )
        if self.ending_before and self.ending_before < closed.ending_before:
            raise ValidationError(
                {
                    "ending_before": f"The period up to {closed.ending_before:%-d %B %Y} is closed already; "
                    "end the contract there or later."
                }
            )


class BillingPeriod(models.Model):
    """A stored period of a contract; billed once, when it is closed. Boundaries are never recomputed after that."""

    contract = models.ForeignKey(Contract, on_delete=models.CASCADE, related_name="billing_periods")
    starting_at = models.DateTimeField()
    ending_before = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["BillingPeriod"]]

    class Meta:
        ordering = ["contract", "starting_at"]
        constraints = [
            models.UniqueConstraint(fields=["contract", "starting_at"], name="one_period_per_start"),
            models.CheckConstraint(
                name="period_ends_after_it_starts", condition=Q(ending_before__gt=models.F("starting_at"))
            ),
        ]
        indexes = [
            models.Index(fields=["ending_before"], condition=Q(closed_at__isnull=True), name="open_periods_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.contract} {self.starting_at:%Y-%m-%d} to {self.ending_before:%Y-%m-%d}"


def _lasting_beside(contract: Contract, others: models.QuerySet[Contract]) -> models.QuerySet[Contract]:
    """Those of other contracts that last in the same time."""
    others = others.exclude(pk=contract.pk)
    others = others.filter(Q(ending_before__isnull=True) | Q(ending_before__gt=contract.starting_at))
    return others.filter(starting_at__lt=contract.ending_before) if contract.ending_before else others


def _meters_of(contract: Contract) -> set[int]:
    rates = Rate.objects.filter(rate_card=contract.rate_card_id, product__meter__isnull=False)
    return set(rates.values_list("product__meter", flat=True))
