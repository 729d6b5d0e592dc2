"""Customers and the keys by which usage events name them."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.decorators import action

from billing_project.admin import ModelAdmin, ReadOnlyInline, TabularInline
from contracts.admin.explorer import explorer_page
from contracts.admin.unclaimed import unclaimed_page
from contracts.current_usage import usage_this_month
from contracts.forms import AliasFormSet, CustomerForm
from contracts.models import Contract, Customer, CustomerKey, Families
from contracts.period_text import period_text
from contracts.sharing import shared_rows


class AliasInline(TabularInline[CustomerKey, Customer]):
    """The further keys; the main one stands above."""

    model = CustomerKey
    formset = AliasFormSet
    fields = ["key"]
    verbose_name = "alias"
    verbose_name_plural = "aliases"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CustomerKey]:
        return super().get_queryset(request).exclude(key=F("customer__key"))


class ContractInline(ReadOnlyInline[Contract, Customer]):
    model = Contract
    fields = ["span", "rate_card", "billing_every", "net_days"]
    readonly_fields = ["span", "rate_card", "billing_every", "net_days"]
    show_change_link = True
    tab = True

    @admin.display(description="Lasts")
    def span(self, contract: Contract) -> str:
        return period_text(contract.starting_at, contract.ending_before, contract.zone)


class ChildInline(ReadOnlyInline[Customer, Customer]):
    """The customers right below."""

    model = Customer
    fk_name = "parent"
    fields = ["key", "payer"]
    readonly_fields = ["key", "payer"]
    verbose_name = "customer below"
    verbose_name_plural = "customers below"
    show_change_link = True
    tab = True


@admin.register(Customer)
class CustomerAdmin(ModelAdmin[Customer]):
    form = CustomerForm
    list_display = ["name", "key", "aliases", "email", "timezone", "number_of_contracts"]
    search_fields = ["name", "key", "keys__key", "email", "tax_id"]
    fields = ["key", "name", "email", "address", ("country", "region"), "timezone", "locale", "parent", "payer"]
    tax_fields = ["tax_id", "tax_treatment", "tax_note", "tax_rate"]
    autocomplete_fields = ["parent"]
    inlines = [AliasInline, ContractInline, ChildInline]

    actions_detail = ["new_contract"]

    @action(  # type: ignore[untyped-decorator]
        description="New contract", permissions=["contracts.add_contract"], icon="add"
    )
    def new_contract(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"{reverse('admin:contracts_contract_add')}?customer={object_id}")

    def get_inlines(self, request: HttpRequest, obj: Customer | None) -> Any:
        return self.inlines if obj else [AliasInline]

    def get_readonly_fields(self, request: HttpRequest, obj: Customer | None = None) -> list[str]:
        return ["key", "usage", "shared"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: Customer | None = None) -> Any:
        usage = [("Usage this month", {"fields": ["usage"]})] if obj else []
        shared = [("Shared commits and credits", {"fields": ["shared"]})] if obj and _shares(obj) else []
        return [(None, {"fields": self.fields}), ("Tax", {"fields": self.tax_fields}), *usage, *shared]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        found = super().get_queryset(request).prefetch_related("keys")
        return found.annotate(contract_count=Count("contracts", distinct=True))

    @admin.display(description="Aliases")
    def aliases(self, customer: Customer) -> str:
        return ", ".join(key.key for key in customer.keys.all() if key.key != customer.key)

    @admin.display(description="Contracts", ordering="contract_count")
    def number_of_contracts(self, customer: Customer) -> int:
        return getattr(customer, "contract_count", 0)

    @admin.display(description="")
    def shared(self, customer: Customer) -> str:
        """What the customer shares, and what the ledger says of it."""
        context = {"rows": shared_rows(customer), "customer": customer}
        return render_to_string("contracts/shared.html", context)

    @admin.display(description="")
    def usage(self, customer: Customer) -> str:
        usage = usage_this_month(customer, timezone.now())
        return render_to_string("contracts/usage.html", {"usage": usage})


@admin.register(CustomerKey)
class CustomerKeyAdmin(ModelAdmin[CustomerKey]):
    """One alias: reached from unclaimed usage, to say whose it is."""

    list_display = ["key", "customer"]
    search_fields = ["key", "customer__name"]
    autocomplete_fields = ["customer"]
    fields = ["customer", "key"]
    list_select_related = ["customer"]

    def get_urls(self) -> list[URLPattern]:
        # Pages of their own in the sidebar: below the customers' address they would light up that entry too.
        pages = [
            path("unclaimed/", self.admin_site.admin_view(self.unclaimed), name="contracts_unclaimed"),
            path("usage/", self.admin_site.admin_view(self.explorer), name="contracts_usage"),
        ]
        return [*pages, *super().get_urls()]

    def explorer(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return explorer_page(request, {**self.admin_site.each_context(request), "title": "Usage explorer"})

    def unclaimed(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "title": "Unclaimed usage"}
        return unclaimed_page(request, context, may_assign=self.has_add_permission(request))

    def has_change_permission(self, request: HttpRequest, obj: CustomerKey | None = None) -> bool:
        return super().has_change_permission(request, obj) and not _is_main(obj)

    def has_delete_permission(self, request: HttpRequest, obj: CustomerKey | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not _is_main(obj)

    def response_add(self, request: HttpRequest, obj: CustomerKey, post_url_continue: str | None = None) -> Any:
        response: HttpResponse = super().response_add(request, obj, post_url_continue)
        stays = {"_continue", "_addanother", "_popup"} & set(request.POST)
        return response if stays else redirect("admin:contracts_unclaimed")


def _shares(customer: Customer) -> bool:
    """Whether it shares funds, or those above it do."""
    return any(each.funds for each in Families([customer]).line(customer.pk))


def _is_main(key: CustomerKey | None) -> bool:
    return key is not None and key.key == key.customer.key
