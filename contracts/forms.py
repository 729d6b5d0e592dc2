"""The forms of customers and contracts."""

from datetime import datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_project.forms import InstantField, currency_input, timezone_input
from contracts.catalog_terms import catalog_of
from contracts.deal_field import DealField, deal_text, read_deal
from contracts.deal_format import DealError, Fault
from contracts.models import Anchor, Contract, Customer, CustomerKey, shared_commit_keys, timezone_name
from meters.periods import local_midnight

if TYPE_CHECKING:  # unfold has no types
    AliasFormSetBase = BaseInlineFormSet[CustomerKey, Customer, forms.ModelForm[CustomerKey]]
else:
    from unfold.forms import PaginationInlineFormSet as AliasFormSetBase


class CustomerForm(forms.ModelForm[Customer]):
    class Meta:
        model = Customer
        fields = [
            *("key", "name", "timezone", "email", "address", "country", "region", "locale", "parent", "payer"),
            *("tax_id", "tax_treatment", "tax_note", "tax_rate"),
        ]
        labels = {"timezone": "Time zone"}
        widgets = {"timezone": timezone_input(), "address": UnfoldAdminTextareaWidget(attrs={"rows": 4})}


class AliasFormSet(AliasFormSetBase):
    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            if form.is_valid() and form.cleaned_data.get("key") == self.instance.key:
                form.add_error("key", "This is the customer's own key: it need not be an alias too.")


class ContractForm(forms.ModelForm[Contract]):
    """Dates are meant in the contract's time zone; a date without a time is the midnight it starts with."""

    starting_at = InstantField(local=True, help_text="The first day of the contract, in its time zone.")
    ending_before = InstantField(
        local=True, required=False, help_text="The first day that is no longer part of it. Empty: open."
    )

    deal = DealField(required=False)
    deal_faults: tuple[Fault, ...] = ()

    class Meta:
        model = Contract
        fields = [
            "key",
            "name",
            "customer",
            "rate_card",
            "currency",
            "starting_at",
            "ending_before",
            "timezone",
            "billing_every",
            "billing_anchor",
            "anchor_date",
            "net_days",
            "purchase_order",
            "shadow",
            "deal",
        ]
        labels = {"timezone": "Time zone", "shadow": "Shadow contract"}
        widgets = {"timezone": timezone_input(), "currency": currency_input()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            for name in ("starting_at", "ending_before"):
                instant = getattr(self.instance, name)
                self.initial[name] = instant.astimezone(self.instance.zone).replace(tzinfo=None) if instant else None
        if isinstance(deal := self.initial.get("deal") or {}, dict):
            self.initial["deal"] = deal_text(deal, self.instance.zone if self.instance.pk else ZoneInfo("UTC"))

    def clean(self) -> dict[str, Any]:
        terms = super().clean() or self.cleaned_data
        if terms.get("billing_anchor") != Anchor.DATE:
            terms["anchor_date"] = None
        zone = self._zone(terms)
        for name in ("starting_at", "ending_before"):
            if terms.get(name):
                terms[name] = _in_zone(terms[name], zone)
        if "deal" in terms:
            self._clean_deal(terms, zone)
        return terms

    def _clean_deal(self, terms: dict[str, Any], zone: ZoneInfo) -> None:
        if self.add_prefix("deal") not in self.data:
            terms["deal"] = self.instance.deal  # a page that does not show the deal leaves it as it is
            return
        card, customer = terms.get("rate_card"), self._customer(terms)
        shared = shared_commit_keys(customer) if customer else frozenset[str]()
        try:
            deal = read_deal(terms["deal"], zone, catalog_of(card, shared) if card else None)
            faults = self.frozen_faults(deal)
            if faults:
                raise DealError(faults)
            terms["deal"] = deal
        except DealError as error:
            self.deal_faults = error.faults
            self.add_error("deal", [str(fault) for fault in error.faults])

    def frozen_faults(self, deal: dict[str, Any]) -> list[Fault]:
        """What the deal changes although it is billed already; the floor that bills knows."""
        return []

    def _customer(self, terms: dict[str, Any]) -> Customer | None:
        return terms.get("customer") or (self.instance.customer if self.instance.customer_id else None)

    def _zone(self, terms: dict[str, Any]) -> ZoneInfo:
        customer = self._customer(terms)
        name = terms.get("timezone") or (customer.timezone if customer else "UTC")
        try:
            timezone_name(name)
        except ValidationError:
            return ZoneInfo("UTC")  # the error stands at its own field
        return ZoneInfo(name)


def _in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    return local_midnight(local.date(), zone) if local.time() == time.min else local.replace(tzinfo=zone)
