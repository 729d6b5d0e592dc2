"""The page of unclaimed usage: keys nobody has, and the customer they are assigned to."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html

from billing_project.errors import RuleError
from contracts.claiming import assign
from contracts.models import Customer, CustomerKey
from contracts.unclaimed import unclaimed_usage


class AssignForm(forms.Form):
    customer = forms.ModelChoiceField(
        Customer.objects.all(),
        widget=AutocompleteSelect(CustomerKey._meta.get_field("customer"), admin.site),
        error_messages={"required": "Choose the customer."},
    )


def unclaimed_page(request: HttpRequest, context: dict[str, Any], *, may_assign: bool) -> HttpResponse:
    form = AssignForm(request.POST or None)
    if request.method == "POST":
        if not may_assign:
            raise PermissionDenied
        if form.is_valid() and _assigned(request, form.cleaned_data["customer"]):
            return redirect("admin:contracts_unclaimed")
    shown = {"unclaimed": unclaimed_usage(), "form": form, "chosen": request.POST.getlist("keys")}
    return render(request, "contracts/unclaimed.html", {**context, **shown, "may_assign": may_assign})


def _assigned(request: HttpRequest, customer: Customer) -> bool:
    try:
        claimed = assign(request.POST.getlist("keys"), customer)
    except RuleError as refusal:
        messages.error(request, refusal.message)
        return False
    url = reverse("admin:contracts_customer_change", args=[customer.pk])
    text = 'Usage under {} ({} events) is <a class="text-link" href="{}">{}</a>\'s now; live drafts show it at once.'
    messages.success(request, format_html(text, ", ".join(claimed.keys), f"{claimed.events:,}", url, customer))
    return True
