"""Contracts: list, read, make; seats and credits by date."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.utils import timezone
from django_filters import rest_framework as filters
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.errors import ConflictError, RuleError
from billing_project.idempotency import once
from catalog.documents import write
from catalog.written import written_instant
from contracts.amendments import amend, change_quantity, end_early, grant_credit
from contracts.approval import settle
from contracts.granting import grant_shared_credit
from contracts.models import Amendment, Contract, ContractTemplate, Customer, Standing
from contracts.sign_up import renew, sign_up
from contracts.written import written_contract
from invoicing.api import examples
from invoicing.api.body import members
from invoicing.api.docs import listed, read, ref, written
from invoicing.api.rows import OneView, RowsView
from invoicing.api.shapes import (
    AmendEntry,
    CustomerGrantEntry,
    EndEntry,
    GrantEntry,
    QuantityEntry,
    RenewEntry,
    SignUpEntry,
)
from invoicing.api.writing import UTC, contract_of, create, customer_of, read_body


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
    return {
        **written_contract(contract),
        "currency": contract.currency,
        "template": contract.template.key if contract.template else None,
        "renews": contract.renews.key if contract.renews else None,
        "status": status if contract.status == Standing.ACTIVE else contract.status,
    }


class ContractsView(RowsView[Contract]):
    queryset = Contract.objects.select_related("customer", "rate_card", "template", "renews")
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
        {"anyOf": [ref("ContractDocument"), ref("SignUpEntry")]},
        {"With a commit, seats and limits": examples.CONTRACT, "From a template": examples.SIGN_UP},
        ref("ContractShown"),
        examples.CONTRACT_SHOWN,
        status=201,
        description="The contract object of the billing file, or what a customer signs up for: a `template`, and what "
        "differs from it. Dates without a time are midnight in its time zone. Beyond the guardrails it waits for a "
        "second person: its status is `awaiting_approval`.",
    )
    @once
    def post(self, request: Request) -> Response:
        entry = members(request)
        if "template" in entry:
            return Response(shown_contract(contract_of(_signed_up(entry).key)), status=201)
        create("contracts", Contract, entry)
        made = contract_of(str(entry["key"]))
        if settle(made):
            made.save()
        return Response(shown_contract(made), status=201)


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
        ref("Amended"),
        examples.QUANTITY_SHOWN,
        description="From an instant on, now if none is given. What it costs follows from the subscription: increases "
        "are prorated, decreases wait for the next period unless agreed otherwise.",
    )
    @once
    def post(self, request: Request, key: str, subscription: str) -> Response:
        contract = contract_of(key)
        given = read_body(QuantityEntry, members(request), contract.zone)
        at = given.at or timezone.now()
        made = change_quantity(contract, subscription, given.quantity, at, None, given.reason, seats=given.seats)
        return _amended(made)


class AmendView(OneView):
    @written(
        "amend_contract",
        "contracts",
        "Amend a contract",
        ref("AmendEntry"),
        {"A discount from March on": examples.AMEND},
        ref("Amended"),
        examples.AMENDED,
        description="Terms are added, ended and changed from an instant on, in no closed period. Beyond the guardrails "
        "it waits for a second person: its status is `waiting`.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        contract, body = contract_of(key), members(request)
        given = read_body(AmendEntry, body, contract.zone)
        at = given.at or timezone.now()
        return _amended(amend(contract, at, body["changes"], None, given.reason))


class RenewView(OneView):
    @written(
        "renew_contract",
        "contracts",
        "Renew a contract",
        ref("RenewEntry"),
        {"For a year": examples.RENEW},
        ref("ContractShown"),
        examples.RENEWED,
        status=201,
        description="The contract that goes on from its end, with its terms moved by the calendar.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        contract, body = contract_of(key), members(request)
        given = read_body(RenewEntry, body, contract.zone)
        made = renew(
            contract,
            given.key,
            None,
            ending_before=given.ending_before,
            term=given.term,
            changes=body.get("changes"),
            reason=given.reason,
        )
        return Response(shown_contract(contract_of(made.key)), status=201)


class EndView(OneView):
    @written(
        "end_contract",
        "contracts",
        "End a contract",
        ref("EndEntry"),
        {"At the end of a year": examples.END},
        ref("Amended"),
        examples.ENDED,
        description="At an instant in no closed period: the last period is short, balances close, postpaid commits are "
        "trued up.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        contract = contract_of(key)
        given = read_body(EndEntry, members(request), contract.zone)
        return _amended(end_early(contract, given.at, None, given.reason))


GRANT = "Never billed, used before anything that is paid. It can be used from now on where no start is given."


class ContractCreditsView(OneView):
    @written(
        "grant_credit",
        "contracts",
        "Grant a credit",
        ref("GrantEntry"),
        {"Goodwill for three months": examples.GRANT},
        ref("Amended"),
        examples.GRANT_SHOWN,
        status=201,
        description=GRANT,
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        return _granted(contract_of(key), members(request))


class CustomerCreditsView(OneView):
    @written(
        "grant_customer_credit",
        "customers",
        "Grant a credit to a customer",
        ref("CustomerGrantEntry"),
        {"Goodwill": examples.SHARED_GRANT, "For one contract": examples.GRANT_BY_CUSTOMER},
        {"anyOf": [ref("Granted"), ref("Amended")]},
        examples.SHARED_GRANT_SHOWN,
        status=201,
        description=f"{GRANT} The customer's contracts share it, future ones and those of customers below it too. With "
        "`contract` it is that contract's own, as if granted there. A shared credit beyond the guardrails is refused: "
        "one of a contract waits for a second person.",
    )
    @once
    def post(self, request: Request, key: str) -> Response:
        customer, body = customer_of(key), members(request)
        if body.get("contract") is not None:
            return _granted(_the_contract(customer, str(body["contract"])), _for_contract(body))
        given = read_body(CustomerGrantEntry, body, ZoneInfo(customer.timezone))
        made = grant_shared_credit(
            customer, given.key, given.amount, None, **_terms(given), currency=given.currency, contracts=given.contracts
        )
        return Response({"customer": customer.key, "credit": write(made)}, status=201)


def _granted(contract: Contract, body: Mapping[str, Any]) -> Response:
    given = read_body(GrantEntry, body, contract.zone)
    return _amended(grant_credit(contract, given.key, given.amount, None, **_terms(given)), status=201)


def _terms(given: GrantEntry) -> dict[str, Any]:
    return {
        "starting_at": given.starting_at or timezone.now(),
        "ending_before": given.ending_before,
        "reason": given.reason,
        "name": given.name,
        "priority": given.priority,
        "scope": write(given.scope),
        "unit": given.unit,
    }


def _for_contract(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a credit that is a contract's own: who shares it is no question then."""
    for name in ("contracts", "currency"):
        if body.get(name):
            message = f"Leave out {name}, or contract: a contract's own credit is shared with none."
            raise RuleError(message, code="contradiction", path=name)
    return {name: value for name, value in body.items() if name not in ("contract", "contracts", "currency")}


def _amended(made: Amendment, status: int = 200) -> Response:
    shown = {
        "id": made.pk,
        "kind": made.kind,
        "status": made.status,
        "effective_at": written_instant(made.effective_at),
        "beyond": made.beyond,
        "reason": made.reason,
    }
    return Response({"amendment": shown, "contract": shown_contract(contract_of(made.contract.key))}, status=status)


def _the_contract(customer: Customer, key: str) -> Contract:
    """The customer's contract of this key. Raises ConflictError."""
    found = customer.contracts.select_related("customer", "rate_card").filter(key=key).first()
    if found is None:
        raise ConflictError(f"The customer has no contract {key}.", code="contract", path="contract")
    return found


class TemplatesView(RowsView[ContractTemplate]):
    queryset = ContractTemplate.objects.filter(archived_at=None).select_related("rate_card")

    def shown(self, row: ContractTemplate) -> dict[str, Any]:
        named = {"key": row.key, "name": row.name, "rate_card": row.rate_card.key}
        return {**named, "currency": row.rate_card.currency, "document": row.document}

    @listed("list_templates", "contracts", "List what customers can sign up for", "TemplateShown", examples.TEMPLATE)
    def get(self, request: Request) -> Response:
        return self.list(request)


def _signed_up(body: dict[str, Any]) -> Contract:
    """A contract from a template."""
    customer = Customer.objects.filter(keys__key=str(body.get("customer", ""))).first()
    zone = ZoneInfo(customer.timezone) if customer else UTC
    given = read_body(SignUpEntry, body, zone)
    template = ContractTemplate.objects.select_related("rate_card").filter(key=given.template).first()
    if customer is None:
        raise RuleError(f"There is no customer {given.customer}.", code="unknown", path="customer")
    if template is None:
        raise RuleError(f"There is no template {given.template}.", code="unknown", path="template")
    own = {name: value for name, value in body.items() if name not in ("template", "key", "customer", "starting_at")}
    return sign_up(template, customer, given.starting_at or timezone.now(), given.key, None, **own)
