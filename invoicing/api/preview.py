"""POST /api/v1/preview: what would be billed, if. Nothing is saved, and nobody else sees any of it."""

from typing import Any

from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.api import requires
from billing_project.errors import RuleError
from billing_project.models import Scope
from catalog.written import written_instant
from contracts.models import Contract, Customer
from invoicing.api import examples
from invoicing.api.body import members
from invoicing.api.docs import ref, written
from invoicing.api.rows import OneView
from invoicing.api.shapes import PreviewHead
from invoicing.api.writing import read_body
from invoicing.billing_file.results import as_invoice, invoice_row
from invoicing.live import in_force
from invoicing.what_if import draft_contract, pending_events, what_if


class PreviewView(OneView):
    permission_classes = [requires(Scope.READ)]

    @written(
        "preview",
        "preview",
        "Work out what would be billed",
        ref("PreviewEntry"),
        {"With a discount and one more call": examples.PREVIEW},
        ref("Preview"),
        examples.PREVIEW_SHOWN,
        saves=False,
        description="The statements of the billing period that holds `at`, and of fees due in it, from stored usage, "
        "under a `contract` that is not saved (new, or instead of the one with its key) or those of a `customer` that "
        "are in force; with up to 1,000 `events` that have not happened. It is built as the close builds it.",
    )
    def post(self, request: Request) -> Response:
        body = members(request)
        head = read_body(
            PreviewHead, {name: value for name, value in body.items() if name not in ("contract", "events")}
        )
        at = head.at or timezone.now()
        found = what_if(_contracts(body.get("contract"), head.customer, at), pending_events(body.get("events", [])), at)
        return Response(
            {
                "at": written_instant(at),
                "statements": [invoice_row(*as_invoice(each)) for each in found.built],
                "counted": found.counted,
                "skipped": found.skipped,
            }
        )


def _contracts(draft: Any, customer: str | None, at: Any) -> list[Contract]:
    if draft is not None:
        return [draft_contract(draft if isinstance(draft, dict) else {})]
    if customer is None:
        raise RuleError("Give a contract, or a customer whose contracts are meant.", code="missing", path="contract")
    owner = Customer.objects.filter(keys__key=customer).first()
    if owner is None:
        raise RuleError(f"There is no customer {customer}.", code="unknown", path="customer")
    return in_force(owner.contracts.select_related("customer", "rate_card"), at)
