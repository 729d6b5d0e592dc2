"""The forms of customers and contracts."""

import json
from datetime import datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BaseInlineFormSet
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_project.forms import InstantField, currency_input, timezone_input
from contracts.catalog_terms import catalog_of
from contracts.changing import columns_as_written
from contracts.deal import Deal
from contracts.deal_changes import deal_changes
from contracts.deal_field import DealField, deal_text, document_text, read_deal
from contracts.deal_format import Catalog, DealError, Fault, deal_as_dict, parse_deal
from contracts.merging import merged
from contracts.models import (
    Anchor,
    Contract,
    ContractTemplate,
    Customer,
    CustomerKey,
    shared_commit_keys,
    timezone_name,
)
from contracts.period_text import instant_text
from contracts.templates import parse_template, template_as_dict
from meters.periods import local_midnight

if TYPE_CHECKING:  # unfold has no types
    AliasFormSetBase = BaseInlineFormSet[CustomerKey, Customer, forms.ModelForm[CustomerKey]]
else:
    from unfold.forms import PaginationInlineFormSet as AliasFormSetBase

DEAL = frozenset(Deal.__struct_fields__)
AGAIN = "Save again to put yours in its place"
MOST_TOLD = 3


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
    both_changed: tuple[str, ...] = ()

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
        self._stored = self._as_stored() if self.instance.pk else {}

    def _as_stored(self) -> dict[str, Any]:
        names = {name: None for name in self._meta.fields or () if name in self.fields}
        stored = columns_as_written(self.instance, names)
        return {**stored, "deal": deal_as_dict(self.instance.parsed_deal)} if "deal" in stored else stored

    @property
    def seen(self) -> str:
        """What the page that is shown now knows of what is stored: it is sent along, so that nobody overwrites what
        somebody else saved since.
        """
        known = self._seen()
        deal = known.get("deal", {}) | {
            part: self._stored["deal"].get(part) for part in self.both_changed if part in DEAL
        }
        known |= {name: self._stored[name] for name in self.both_changed if name not in DEAL}
        return json.dumps({**known, "deal": deal} if known else self._stored)

    def _seen(self) -> dict[str, Any]:
        try:
            seen = json.loads(self.data.get(self.add_prefix("seen")) or "{}")
        except (ValueError, RecursionError):
            return {}
        is_whole = isinstance(seen, dict) and isinstance(seen.get("deal", {}), dict)
        return {name: seen[name] for name in self._stored if name in seen} if is_whole else {}

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
        self._keep_theirs(terms)
        return terms

    def _keep_theirs(self, terms: dict[str, Any]) -> None:
        """What somebody else saved since the page was shown stays, where this page leaves it as it was."""
        seen = self._seen()
        names = [name for name in seen if name in terms and name != "deal"]
        mine = columns_as_written(Contract(**{name: terms[name] for name in names}), dict.fromkeys(names))
        stored = {name: self._stored[name] for name in names}
        _, both = merged({name: seen[name] for name in names}, mine, stored)
        for name in names:
            if name in both:
                self.add_error(name, f"Somebody saved {self._shown(name)} here a moment ago. {AGAIN}.")
            elif mine[name] == seen[name]:
                terms[name] = getattr(self.instance, name)
        self.both_changed = (*self.both_changed, *both)

    def _shown(self, name: str) -> str:
        """A stored column as people read it."""
        value = getattr(self.instance, name)
        if isinstance(value, datetime):
            return instant_text(value, self.instance.zone)
        chosen = getattr(self.instance, f"get_{name}_display", None)
        return str(chosen() if chosen else value) or "nothing"

    def _clean_deal(self, terms: dict[str, Any], zone: ZoneInfo) -> None:
        if self.add_prefix("deal") not in self.data:
            terms["deal"] = self.instance.deal  # a page that does not show the deal leaves it as it is
            return
        card, customer = terms.get("rate_card"), self._customer(terms)
        shared = shared_commit_keys(customer) if customer else frozenset[str]()
        catalog = catalog_of(card, shared) if card else None
        try:
            deal = self._with_theirs(read_deal(terms["deal"], zone, catalog), zone, catalog)
            faults = self.frozen_faults(deal)
            if faults:
                raise DealError(faults)
            terms["deal"] = deal
        except DealError as error:
            self.deal_faults = error.faults
            self.add_error("deal", [str(fault) for fault in error.faults])

    def _with_theirs(self, deal: dict[str, Any], zone: ZoneInfo, catalog: Catalog | None) -> dict[str, Any]:
        """The deal with the parts that only somebody else changed since the page was shown. Raises DealError."""
        seen = self._seen()
        if "deal" not in seen:
            return deal
        stored = self._stored["deal"]
        together, both = merged(seen["deal"], deal, stored)
        if both:
            self.both_changed = tuple(both)
            raise DealError([Fault(part, "changed", _told(part, seen["deal"], stored, zone)) for part in both])
        return deal if together == deal else deal_as_dict(parse_deal(together, zone, catalog))

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


def _told(part: str, seen: dict[str, Any], stored: dict[str, Any], zone: ZoneInfo) -> str:
    """What somebody else changed in a part of the deal."""
    changes = deal_changes({part: seen.get(part)}, {part: stored.get(part)}, zone)
    told = [f"{where}: {old or 'nothing'} → {new or 'nothing'}" for where, old, new in changes[:MOST_TOLD]]
    more = f"; {len(changes) - MOST_TOLD} more" if len(changes) > MOST_TOLD else ""
    return f"somebody changed this a moment ago ({'; '.join(told)}{more}). {AGAIN}"


class TemplateForm(forms.ModelForm[ContractTemplate]):
    document = DealField(required=False)
    document_faults: tuple[Fault, ...] = ()

    class Meta:
        model = ContractTemplate
        fields = ["key", "name", "rate_card", "document", "archived_at"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["document"] = document_text(self.initial.get("document") or {})

    def clean(self) -> dict[str, Any]:
        terms = super().clean() or self.cleaned_data
        if "document" in terms:
            card = terms.get("rate_card")
            try:
                parse_template(terms["document"], catalog_of(card) if card else None)
                terms["document"] = template_as_dict(terms["document"])
            except DealError as error:
                self.document_faults = error.faults
                self.add_error("document", [str(fault) for fault in error.faults])
        return terms


def _in_zone(local: datetime, zone: ZoneInfo) -> datetime:
    return local_midnight(local.date(), zone) if local.time() == time.min else local.replace(tzinfo=zone)
