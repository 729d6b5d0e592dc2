"""The form of a rate, and of all rates of a card at once."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_project.forms import currency_input
from catalog.group_values import group_text, read_group
from catalog.models import Rate, RateCard, TaxRate
from catalog.price_field import PriceField
from catalog.price_text import price_text

if TYPE_CHECKING:  # unfold has no types
    RateFormSetBase = BaseInlineFormSet[Rate, RateCard, forms.ModelForm[Rate]]
else:
    from unfold.forms import PaginationInlineFormSet as RateFormSetBase


class GroupValuesField(forms.CharField):
    """Group values as `model=gpt-4o, region=eu`."""

    def prepare_value(self, value: Any) -> Any:
        return group_text(value) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        try:
            return read_group(super().to_python(value) or "")
        except ValueError as error:
            raise ValidationError(str(error), code="group_values") from error


class RateForm(forms.ModelForm[Rate]):
    where = GroupValuesField(
        label="Group values",
        required=False,
        empty_value="",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "model=gpt-4o, region=eu"}),
        help_text="A value for each pricing key of the product: model=gpt-4o, region=eu. Empty if it has none.",
    )
    price = PriceField(label="Price")

    class Meta:
        model = Rate
        fields = ["rate_card", "product", "where", "price", "starting_at", "ending_before"]


class TaxRateForm(forms.ModelForm[TaxRate]):
    class Meta:
        model = TaxRate
        fields = [
            *("key", "name", "percent", "category", "inclusive", "note", "country", "region", "product_category"),
            *("starting_at", "ending_before"),
        ]


class RateFormSet(RateFormSetBase):
    """Rates saved together: checked against each other as they will be, so that a new price can end the old one."""

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        rate = form.instance
        rate.saved_with = self._posted()
        if rate.pk:
            price = price_text(rate.parsed_price, self.instance.currency)
            rate.get_inline_title = f"{rate}: {price}"  # what unfold heads the row with

    def _posted(self) -> frozenset[int]:
        """Not every rate of the card: somebody may have added one since the page was shown."""
        if not self.is_bound:
            return frozenset()
        places = range(self.initial_form_count())
        keys = [self.data.get(f"{self.add_prefix(place)}-{Rate._meta.pk.name}", "") for place in places]
        return frozenset(int(key) for key in keys if key.isdecimal())

    def clean(self) -> None:
        super().clean()
        for earlier, later in combinations(filter(self._stays, self.forms), 2):
            if _of_one_product(earlier.instance, later.instance):
                try:
                    later.instance.refuse_overlap(earlier.instance)
                except ValidationError as error:
                    later.add_error(None, error)

    def _stays(self, form: forms.ModelForm[Rate]) -> bool:
        if not form.is_valid() or form.cleaned_data.get("DELETE"):
            return False
        return form.instance.pk is not None or form.has_changed()


def _of_one_product(rate: Rate, other: Rate) -> bool:
    return (rate.product_id, rate.where_key) == (other.product_id, other.where_key)


class RateCardForm(forms.ModelForm[RateCard]):
    class Meta:
        model = RateCard
        fields = ["key", "name", "currency"]
        widgets = {"currency": currency_input()}
