"""What a customer spent, has left and may use, now: the same statement the close would write."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from django.db.models import Q
from django.http import Http404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.decimals import plain
from billing_project.prepared import ask, columns, instance, width
from catalog.models import RateCard
from catalog.written import written_instant
from contracts.entitlements import Grant
from contracts.models import Contract, Customer, Families, below
from invoicing.api import examples
from invoicing.api.docs import list_of, read_usage, ref
from invoicing.api.rows import OneView
from invoicing.api.writing import contract_of
from invoicing.billing_file.amounts import money
from invoicing.billing_file.balance_results import balance_rows
from invoicing.billing_file.results import as_invoice, invoice_row
from invoicing.entitlements import grants
from invoicing.live import Live, in_force, live
from invoicing.models import Invoice, Status

SPEND = "The running billing period as its invoice would be now, exact the moment a post of events is acknowledged."
BALANCES = (
    "What is left of every commit and credit after everything used so far, and the ledger: the entries that are posted "
    "and those that issuing the statements of today would post."
)


class CustomerSpendView(OneView):
    @read_usage(
        "read_spend",
        "customers",
        "Read the live spend",
        list_of("Spend"),
        {"data": [examples.SPEND]},
        f"{SPEND} One for each contract in force.",
    )
    def get(self, request: Request, key: str) -> Response:
        return Response({"data": spend_rows(key, timezone.now())})


class ContractSpendView(OneView):
    @read_usage("read_contract_spend", "contracts", "Read the live spend", ref("Spend"), examples.SPEND, SPEND)
    def get(self, request: Request, key: str) -> Response:
        (found,) = live([contract_of(key)], timezone.now())
        return Response(spend_row(found))


class CustomerBalancesView(OneView):
    @read_usage(
        "read_balances", "customers", "Read balances", list_of("BalanceShown"), {"data": [examples.BALANCE]}, BALANCES
    )
    def get(self, request: Request, key: str) -> Response:
        return Response({"data": _balances(_contracts_of(key))})


class ContractBalancesView(OneView):
    @read_usage(
        "read_contract_balances",
        "contracts",
        "Read balances",
        list_of("BalanceShown"),
        {"data": [examples.BALANCE]},
        BALANCES,
    )
    def get(self, request: Request, key: str) -> Response:
        return Response({"data": _balances([contract_of(key)])})


class EntitlementsView(OneView):
    @read_usage(
        "list_entitlements",
        "entitlements",
        "List what a customer may use",
        list_of("EntitlementShown"),
        {"data": [examples.ENTITLEMENT, examples.SWITCH]},
        "Of all contracts in force. Where several grant a feature, the most generous of them counts.",
    )
    def get(self, request: Request, key: str) -> Response:
        found = grants(_contracts_of(key), timezone.now())
        return Response({"data": [entitlement_row(found[name]) for name in sorted(found)]})


class EntitlementView(OneView):
    @read_usage(
        "check_entitlement",
        "entitlements",
        "Check whether a customer may use a feature",
        ref("EntitlementShown"),
        examples.ENTITLEMENT,
        "From usage acknowledged so far, synchronously: ask before each use. 404 where no contract in force names the "
        "feature. A metered feature resets every minute (a rate limit) to every year, or never.",
    )
    def get(self, request: Request, key: str, feature: str) -> Response:
        found = grants(_contracts_of(key), timezone.now(), feature)
        if feature not in found:
            raise Http404
        return Response(entitlement_row(found[feature]))


def spend_rows(customer: str, at: datetime) -> list[dict[str, Any]]:
    """The spend of each contract of a customer that is in force at an instant. Raises Http404."""
    return [spend_row(each) for each in live(in_force(_contracts_of(customer), at), at)]


def spend_row(found: Live) -> dict[str, Any]:
    """The running period of a contract in four numbers, and the statement they come from."""
    contract, currency = found.contract, found.contract.currency
    left = [
        {"unit": unit, "amount": money(amount, currency) if unit == currency else plain(amount)}
        for unit, amount in sorted(found.left().items())
    ]
    empty = dict.fromkeys(("period", "used", "discount", "covered", "spent", "statement"))
    row: dict[str, Any] = {"contract": contract.key, "currency": currency, **empty, "left": left}
    if found.running is None:
        return row
    statement = invoice_row(*as_invoice(found.running))
    total = found.running.statement
    amounts = {
        "used": total.subtotal,
        "discount": total.discount,
        "covered": total.credits_applied,
        "spent": total.subtotal - total.discount - total.credits_applied,
    }
    shown = {name: money(amount, currency) for name, amount in amounts.items()}
    return {**row, "period": statement["period"], **shown, "statement": statement}


def entitlement_row(grant: Grant) -> dict[str, Any]:
    resets = grant.period is not None and grant.period.ending_before.year < 9999
    return {
        "feature": grant.feature,
        "kind": grant.kind,
        "has_access": grant.has_access,
        "reason": grant.reason,
        "value": grant.value,
        "limit": _number(grant.limit),
        "used": _number(grant.used),
        "remaining": _number(grant.left),
        "overage": _number(grant.overage),
        "soft": grant.soft,
        "resets_at": written_instant(grant.period.ending_before) if grant.period and resets else None,
    }


def _number(value: Any) -> str | None:
    return None if value is None else plain(value)


def _contracts_of(customer: str) -> list[Contract]:
    """The contracts of the customer with this key or alias, in order of their keys. Raises Http404."""
    rows = ask(_contracts_statement(), [customer])
    if not rows:
        raise Http404
    owner = instance(Customer, rows[0][: width(Customer)])
    return [_contract_of(owner, row[width(Customer) :]) for row in rows if row[-1] is not None]


def _contract_of(owner: Customer, row: Sequence[Any]) -> Contract:
    contract = instance(Contract, row[: width(Contract)])
    contract.customer, contract.rate_card = owner, instance(RateCard, row[width(Contract) : -1])
    return contract


@cache
def _contracts_statement() -> str:
    """Last comes the contract's id: null in the one row of a customer without contracts."""
    return f"""
        SELECT {columns(Customer, "u")}, {columns(Contract, "c")}, {columns(RateCard, "r")}, c.id
        FROM contracts_customerkey AS k JOIN contracts_customer AS u ON u.id = k.customer_id
        LEFT JOIN (contracts_contract AS c JOIN catalog_ratecard AS r ON r.id = c.rate_card_id) ON c.customer_id = u.id
        WHERE k.key = %s ORDER BY c.key
    """  # noqa: S608


def _balances(contracts: Sequence[Contract]) -> list[dict[str, Any]]:
    """One row for each commit and credit of a customer's contracts, and for those shared by a customer in its line."""
    now = timezone.now()
    families = Families(each.customer for each in contracts)
    line = {above.pk: above for each in contracts for above in families.line(each.customer_id) if above.funds}
    family = Contract.objects.filter(customer__in=below(line)).exclude(pk__in=[each.pk for each in contracts])
    drawing = [*contracts, *family.select_related("customer", "rate_card")] if line else contracts
    funded = [each for each in drawing if each.deal or line]
    written = Invoice.objects.filter(contract__in=funded).exclude(Q(status=Status.VOID) | Q(draws=[]))
    rows = written.select_related("contract").order_by("starting_at", "pk").prefetch_related("lines")
    statements = [(row, sorted(row.lines.all(), key=lambda line: line.position)) for row in rows]
    for found in live(funded, now):
        statements += [as_invoice(built) for built in found.unwritten]
    return balance_rows(contracts, list(line.values()), statements, now)
