"""Contracts: list, read, make; seats and credits by date."""

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.idempotency import once
from contracts.models import Contract
from contracts.written import written_contract
from invoicing.api import examples
from invoicing.api.body import members
from invoicing.api.docs import listed, read, ref, written
from invoicing.api.rows import OneView, RowsView
from invoicing.api.shapes import GrantEntry, QuantityEntry
from invoicing.api.writing import contract_of, create, customer_of, read_body
from invoicing.small_changes import grant_credit, set_quantity, the_contract


class ContractFilter(filters.FilterSet):  # type: ignore[misc]
    customer = filters.CharFilter("customer__keys__key", help_text="Key or alias.")
    rate_card = filters.CharFilter("rate_card__key")
    shadow = filters.BooleanFilter()
    at = filters.IsoDateTimeFilter(method="in_force", help_text="Contracts in force at this instant.")

    def in_force(self, rows: QuerySet[Contract], name: str, value: datetime) -> QuerySet[Contract]:
        return rows.filter(Q(ending_before__isnull=True) | Q(ending_before__gt=value), starting_at__lte=value)


def shown_contract(contract: Contract) -> dict[str, Any]:
    now = timezone.now()
    over = contract.ending_before is not None and contract.ending_before <= now
    status = "upcoming" if contract.starting_at > now else "ended" if over else "running"
    return {**written_contract(contract), "currency": contract.currency, "status": status}


class ContractsView(RowsView[Contract]):
    queryset = Contract.objects.select_related("customer", "rate_card")
    filterset_class = ContractFilter

    def shown(self, row: Contract) -> dict[str, Any]:
        return shown_contract(row)

    @listed("list_contracts", "contracts", "List contracts", "ContractShown", examples.CONTRACT_SHOWN)
    def get(self, request: Request) -> Response:
        return self.list(request)

    @written(
        "create_contract",
        "contracts",
        "Make a contract",
        ref("ContractDocument"),
        {"With a commit, seats and limits": examples.CONTRACT},
        ref("ContractShown"),
        examples.CONTRACT_SHOWN,
        status=201,
        description="The contract object of the billing file: dates without a time are midnight in its time zone.",
    )
    @once
    def post(self, request: Request) -> Response:
        entry = members(request)
        create("contracts", Contract, entry)
        return Response(shown_contract(contract_of(str(entry["key"]))), status=201)


class ContractView(OneView):
    @read("read_contract", "contracts", "Read a contract", ref("ContractShown"), examples.CONTRACT_SHOWN)
    def get(self, request: Request, key: str) -> Response:
        return Response(shown_contract(contract_of(key)))


class QuantityView(OneView):
    @written(
        "set_quantity",
        "contracts",
        "Change the quantity of a subscription",
        ref("QuantityEntry"),
        {"Five seats from the 10th on": examples.QUANTITY},
        ref("ContractShown"),
        examples.QUANTITY_SHOWN,
        description="From an instant on, now if none is given. What it costs follows from the subscription: increases "
        "are prorated, decreases wait for the next period unless agreed otherwise.",
    )
    @once
    def post(self, request: Request, key: str, subscription: str) -> Response:
        contract = contract_of(key)
        entry = read_body(QuantityEntry, members(request))
        set_quantity(contract, subscription, entry.quantity, entry.at, entry.seats, timezone.now())
        return Response(shown_contract(contract_of(key)))


GRANT_DOCS = written(
    "grant_credit",
    "contracts",
    "Grant a credit",
    ref("GrantEntry"),
    {"Goodwill for three months": examples.GRANT},
    ref("ContractShown"),
    examples.GRANT_SHOWN,
    status=201,
    description="Never billed, used before anything is paid. Without dates it can be used as long as the contract.",
)


class ContractCreditsView(OneView):
    @GRANT_DOCS
    @once
    def post(self, request: Request, key: str) -> Response:
        contract = contract_of(key)
        grant_credit(contract, _grant(request), timezone.now())
        return Response(shown_contract(contract_of(contract.key)), status=201)


class CustomerCreditsView(OneView):
    @written(
        "grant_customer_credit",
        "customers",
        "Grant a credit to a customer",
        ref("GrantEntry"),
        {"Goodwill": {"key": "sorry-again", "amount": "25"}},
        ref("ContractShown"),
        examples.GRANT_SHOWN,
        status=201,
        description="To the customer's contract in force; `contract` names it where there are several.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        given, now = _grant(request), timezone.now()
        contract = the_contract(customer_of(key), given.pop("contract", None), now)
        grant_credit(contract, given, now)
        return Response(shown_contract(contract_of(contract.key)), status=201)


def _grant(request: Request) -> dict[str, Any]:
    given = members(request)
    read_body(GrantEntry, given)
    return given
