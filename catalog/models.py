"""What things cost, for everyone: products on meters, rate cards, dated rates."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import moneyed
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Deferrable, Q

from billing_project.fields import ExactField, key_field
from billing_project.history import tracked
from catalog.documents import Document, DocumentError, read, write
from catalog.group_values import group_key, group_text, parse_group
from catalog.money import minor_unit
from catalog.price_format import PriceError, parse_price
from catalog.prices import WrittenPrice, part_per_event
from catalog.pricing import Conversion
from catalog.ranges import TimestampRange
from catalog.tax_models import TaxRate
from meters.models import Meter

FINEST = Decimal("0.001")  # what totals of invoices are kept in

__all__ = ["PricingUnit", "Product", "Rate", "RateCard", "TaxRate", "TimestampRange", "currency_code", "span_text"]


def currency_code(value: str) -> None:
    """Validator for ISO 4217 codes."""
    if value not in moneyed.CURRENCIES:
        raise ValidationError(
            "%(value)s is not an ISO 4217 currency code, such as USD or EUR.", params={"value": value}
        )
    if minor_unit(value) < FINEST:
        raise ValidationError(
            "%(value)s is counted in parts finer than a thousandth, which invoices do not hold: take another.",
            params={"value": value},
        )


@tracked()
class Product(models.Model):
    """Something sold: the quantity of a meter converted to the unit that is priced, seats, a fee, a share of spend."""

    class Kind(models.TextChoices):
        USAGE = "usage", "Usage: what a meter counts"
        SUBSCRIPTION = "subscription", "Subscription: seats or anything else counted, each period"
        FIXED = "fixed", "Fixed: an amount charged at an instant"
        PERCENT_OF_SPEND = "percent_of_spend", "Percent of spend: a share of what other products cost"

    class Rounding(models.TextChoices):
        NONE = "", "Not rounded"
        UP = "up", "Up"
        DOWN = "down", "Down"
        HALF_UP = "half_up", "Half up"

    key = key_field()
    name = models.CharField(max_length=200, help_text="As it stands on the invoice.")
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.USAGE)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, null=True, blank=True, related_name="products")
    of = models.JSONField(
        default=dict,
        blank=True,
        help_text='Whose spend, for a share of it: {"products": ["tokens"], "tags": ["compute"]}. Empty: all usage.',
    )
    pricing_keys = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        help_text="Group keys of the meter the price depends on, separated by commas: model, region.",
    )
    presentation_keys = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        help_text="Group keys that get an invoice line of their own without changing the price.",
    )
    multiply_by = ExactField(default=1, help_text="The metered quantity is multiplied by this before pricing.")
    divide_by = ExactField(default=1, help_text="... and divided by this: 1000000 to price per million tokens.")
    rounding = models.CharField(max_length=10, choices=Rounding, default=Rounding.NONE, blank=True)
    rounding_places = models.SmallIntegerField(
        default=0, validators=[MinValueValidator(0)], help_text="Decimal places the billed quantity is rounded to."
    )
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    tax_category = models.CharField(
        max_length=100, blank=True, help_text="Tax rates may be for products of a category: books. Empty: the usual."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Product"]]

    class Meta:
        ordering = ["name", "key"]

    def __str__(self) -> str:
        return self.name

    @property
    def conversion(self) -> Conversion:
        return Conversion(self.multiply_by, self.divide_by, self.rounding, self.rounding_places)

    def clean(self) -> None:
        for name in ("multiply_by", "divide_by"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValidationError({name: "Must be above zero."})
        if (self.kind == self.Kind.USAGE) != (self.meter_id is not None):
            needs = "A usage product needs a meter." if self.meter_id is None else "Only usage products have a meter."
            raise ValidationError({"meter": needs})
        kept = self.meter.group_by if self.meter else []
        for name in ("pricing_keys", "presentation_keys"):
            unknown = [key for key in getattr(self, name) or [] if key not in kept]
            if unknown:
                known = ", ".join(kept) or "none"
                raise ValidationError({name: f"{', '.join(unknown)}: not a group key of the meter (it has: {known})."})
        both = set(self.pricing_keys or []) & set(self.presentation_keys or [])
        if both:
            raise ValidationError({"presentation_keys": f"{', '.join(sorted(both))}: already a pricing key."})
        self._clean_of()
        self._clean_rated()

    def _clean_of(self) -> None:
        """A share of its own spend, or of another share, would be a circle."""
        if self.kind != self.Kind.PERCENT_OF_SPEND:
            return
        keys, tags = set(self.of.get("products", [])), set(self.of.get("tags", []))
        shares = Product.objects.filter(kind=self.Kind.PERCENT_OF_SPEND).exclude(pk=self.pk)
        others = [(row.key, set(row.tags)) for row in shares.filter(Q(key__in=keys) | Q(tags__overlap=list(tags)))]
        for key, tagged in [(self.key, set(self.tags or [])), *others]:
            if key in keys or tagged & tags:
                raise ValidationError({"of": f"{key} is a share of spend itself: name the products it is a share of."})

    def _clean_rated(self) -> None:
        """Rates name a value for each pricing key; with other keys none of them would be found again."""
        saved = Product.objects.filter(pk=self.pk).first() if self.pk else None
        if saved and set(saved.pricing_keys) != set(self.pricing_keys or []) and self.rates.exists():
            keys = ", ".join(saved.pricing_keys) or "no keys"
            raise ValidationError(
                {"pricing_keys": f"There are rates by {keys}: delete them first, or make another product."}
            )


class PricingUnit(Document, frozen=True):
    """A unit prices may be in instead of the card's currency, and what one costs in that, while it lasts. Without a
    rate only balances in the unit can pay.
    """

    above_zero: ClassVar[frozenset[str]] = frozenset({"rate"})
    key: str
    rate: Decimal | None = None
    starting_at: datetime | None = None
    ending_before: datetime | None = None


@tracked()
class RateCard(models.Model):
    """A list of dated rates in one currency; contracts refer to it."""

    key = key_field()
    name = models.CharField(max_length=200)
    currency = models.CharField(max_length=3, validators=[currency_code], help_text="ISO 4217 code: USD, EUR, JPY.")
    pricing_units = models.JSONField(
        default=list,
        blank=True,
        help_text="Units of our own that prices may be in, and what one costs in the card's currency, while it lasts: "
        '[{"key": "credit", "rate": "0.10", "starting_at": "2026-01-01T00:00:00+00:00"}].',
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["RateCard"]]

    class Meta:
        ordering = ["name", "key"]

    def __str__(self) -> str:
        return f"{self.name} ({self.currency})"

    def clean(self) -> None:
        try:
            self.pricing_units = [write(unit) for unit in self.parsed_units]
        except DocumentError as error:
            raise ValidationError({"pricing_units": str(error)}) from error

    @property
    def parsed_units(self) -> list[PricingUnit]:
        """Raises DocumentError."""
        units: list[PricingUnit] = read(list[PricingUnit], self.pricing_units)
        return units


@tracked()
class Rate(models.Model):
    """The price of a product (and of one set of pricing group values) on a card, from an instant to an instant."""

    rate_card = models.ForeignKey(RateCard, on_delete=models.CASCADE, related_name="rates")
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="rates")
    where = models.JSONField(
        default=dict,
        blank=True,
        help_text='A value for each pricing key of the product: {"model": "gpt-4o"}. Empty if the product has none.',
    )
    where_key = models.TextField(editable=False)
    starting_at = models.DateTimeField(null=True, blank=True, help_text="Empty: since ever.")
    ending_before = models.DateTimeField(null=True, blank=True, help_text="Empty: until further notice.")
    price = models.JSONField(help_text="The price model and its amounts.")
    commit_price = models.JSONField(
        null=True, blank=True, help_text="The price while a commit pays that asks for commit rates. Empty: the price."
    )
    unit = models.CharField(
        max_length=200, blank=True, help_text="A pricing unit of the card the amounts are in. Empty: its currency."
    )

    objects: ClassVar[models.Manager["Rate"]]

    class Meta:
        ordering = ["product__name", "where_key", "starting_at"]
        constraints = [
            models.CheckConstraint(
                name="rate_ends_after_it_starts",
                condition=Q(ending_before__isnull=True)
                | Q(starting_at__isnull=True)
                | Q(ending_before__gt=models.F("starting_at")),
                violation_error_message="A rate must end after it starts.",
            ),
            ExclusionConstraint(
                name="rates_do_not_overlap",
                expressions=[
                    ("rate_card", RangeOperators.EQUAL),
                    ("product", RangeOperators.EQUAL),
                    ("where_key", RangeOperators.EQUAL),
                    (TimestampRange("starting_at", "ending_before"), RangeOperators.OVERLAPS),
                ],
                # Looked at after each statement, or at the end of a transaction that moves two rates at once.
                deferrable=Deferrable.IMMEDIATE,
                violation_error_message="Overlaps another rate of this product and these group values.",
            ),
        ]

    # Rates saved together with this one: whoever saves them has checked that they do not overlap afterwards.
    saved_with: frozenset[int] = frozenset()

    def __str__(self) -> str:
        parts = [
            str(self.product),
            group_text(self.where),
            f"from {_day(self.starting_at)}" if self.starting_at else "",
        ]
        return ", ".join(filter(None, parts))

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.where_key = group_key(self.where)
        super().save(*args, **kwargs)

    @property
    def parsed_price(self) -> WrittenPrice:
        return parse_price(self.price)

    @property
    def parsed_commit_price(self) -> WrittenPrice | None:
        return None if self.commit_price is None else parse_price(self.commit_price)

    def clean(self) -> None:
        for name in ("price", "commit_price"):
            try:
                price = None if getattr(self, name) is None else parse_price(getattr(self, name))
            except PriceError as error:
                raise ValidationError({name: str(error)}) from error
            metered = self.product_id is None or self.product.meter_id is not None
            part = "" if price is None or metered else part_per_event(price)
            if part:
                raise ValidationError({name: f"{part}: looks at single events, which only usage has."})
        self._clean_unit()
        self._clean_where()
        if self.starting_at and self.ending_before and self.starting_at >= self.ending_before:
            raise ValidationError({"ending_before": "A rate must end after it starts."})
        self._clean_overlap()

    def _clean_unit(self) -> None:
        if self.unit and self.rate_card_id and self.unit not in {unit.key for unit in self.rate_card.parsed_units}:
            raise ValidationError({"unit": f"The card has no pricing unit {self.unit}."})

    def _clean_where(self) -> None:
        if self.product_id is None:
            return
        try:
            self.where = parse_group(self.where)
        except ValueError as error:
            raise ValidationError({"where": str(error)}) from error
        keys = self.product.pricing_keys
        if set(self.where) != set(keys):
            needed = ", ".join(keys) or "none"
            raise ValidationError({"where": f"Give exactly one value for each pricing key of the product ({needed})."})
        self.where_key = group_key(self.where)

    def _clean_overlap(self) -> None:
        if self.rate_card_id is None or self.product_id is None:
            return
        same = Rate.objects.filter(rate_card=self.rate_card_id, product=self.product_id, where_key=self.where_key)
        for other in same.exclude(pk=self.pk).exclude(pk__in=self.saved_with):
            self.refuse_overlap(other)

    def refuse_overlap(self, other: "Rate") -> None:
        """Raises ValidationError when both hold at one instant."""
        after = self.starting_at and other.ending_before and self.starting_at >= other.ending_before
        before = self.ending_before and other.starting_at and self.ending_before <= other.starting_at
        if not (after or before):
            raise ValidationError({"starting_at": f"Overlaps the rate {other.span_text}: end that one first."})

    @property
    def span_text(self) -> str:
        return span_text(self.starting_at, self.ending_before)


def span_text(starting_at: datetime | None, ending_before: datetime | None) -> str:
    start, end = _day(starting_at), _day(ending_before)
    if start and end:
        return f"from {start} to {end}"
    return f"from {start} on" if start else f"until {end}" if end else "without start and end"


def _day(instant: datetime | None) -> str:
    return f"{instant:%-d %B %Y %H:%M} UTC".replace(" 00:00 UTC", "") if instant else ""
