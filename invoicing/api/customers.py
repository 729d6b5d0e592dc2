"""Customers: list, read, make, change; the keys events name them by."""

from typing import Any

from django.db.models import QuerySet
from django.http import Http404
from django_filters import rest_framework as filters
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.idempotency import once
from contracts.claiming import assign
from contracts.models import Customer, CustomerKey
from contracts.written import written_customer
from invoicing.api import examples
from invoicing.api.body import members
from invoicing.api.docs import listed, read, ref, written
from invoicing.api.rows import OneView, RowsView
from invoicing.api.shapes import AliasesEntry
from invoicing.api.writing import change, create, customer_of, read_body

ALIASES = {"aliases": ["acme-us", "acme-apac"]}


class CustomerFilter(filters.FilterSet):  # type: ignore[misc]
    name = filters.CharFilter(lookup_expr="icontains", help_text="A part of the name.")
    email = filters.CharFilter(lookup_expr="iexact")
    alias = filters.CharFilter(method="by_key", help_text="A key under which events name the customer.")

    def by_key(self, rows: QuerySet[Customer], name: str, value: str) -> QuerySet[Customer]:
        return rows.filter(pk__in=CustomerKey.objects.filter(key=value).values("customer"))


class CustomersView(RowsView[Customer]):
    queryset = Customer.objects.prefetch_related("keys")
    filterset_class = CustomerFilter

    def shown(self, row: Customer) -> dict[str, Any]:
        return written_customer(row)

    @listed("list_customers", "customers", "List customers", "CustomerEntry", examples.CUSTOMER_SHOWN)
    def get(self, request: Request) -> Response:
        return self.list(request)

    @written(
        "create_customer",
        "customers",
        "Make a customer",
        ref("CustomerEntry"),
        {"A customer": examples.CUSTOMER},
        ref("CustomerEntry"),
        examples.CUSTOMER_SHOWN,
        status=201,
    )
    @once
    def post(self, request: Request) -> Response:
        entry = members(request)
        create("customers", Customer, entry)
        return Response(_customer(str(entry["key"])), status=201)


class CustomerView(OneView):
    @read(
        "read_customer",
        "customers",
        "Read a customer",
        ref("CustomerEntry"),
        examples.CUSTOMER_SHOWN,
        "By its key or any of its aliases, like everything below a customer.",
    )
    def get(self, request: Request, key: str) -> Response:
        return Response(_customer(key))

    @written(
        "change_customer",
        "customers",
        "Change a customer",
        {"type": "object", "description": "The members of a CustomerEntry that change."},
        {"Another address for invoices": {"email": "billing@acme.test"}},
        ref("CustomerEntry"),
        {**examples.CUSTOMER_SHOWN, "email": "billing@acme.test"},
        description="JSON merge patch (RFC 7396) of the customer. Aliases are added, none is taken away.",
    )
    @once
    def patch(self, request: Request, key: str) -> Response:
        customer = customer_of(key)
        change("customers", written_customer(customer), customer.key, members(request))
        return Response(_customer(customer.key))


class AliasesView(OneView):
    @written(
        "add_aliases",
        "customers",
        "Add aliases",
        ref("AliasesEntry"),
        {"Two more": ALIASES},
        ref("Aliases"),
        {"customer": "acme", "added": ["acme-apac", "acme-us"], "events": 0},
        description="Usage under these keys is the customer's from now on, what came before too: unclaimed usage is "
        "claimed by it. Aliases that are the customer's already stay.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        customer = customer_of(key)
        entry = read_body(AliasesEntry, members(request))
        claimed = assign(entry.aliases, customer)
        return Response({"customer": customer.key, "added": list(claimed.keys), "events": claimed.events})


def _customer(key: str) -> dict[str, Any]:
    found = Customer.objects.prefetch_related("keys").filter(keys__key=key).first()
    if found is None:
        raise Http404
    return written_customer(found)
