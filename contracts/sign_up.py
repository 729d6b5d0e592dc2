"""Contracts that come from something else: signed from a template, or the successor of one that ends."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.db import transaction

from billing_project.errors import ConflictError, RuleError
from billing_project.history import authored_by
from contracts.amending import amended, parse_changes
from contracts.approval import settle
from contracts.catalog_terms import catalog_of
from contracts.changing import locked_contract
from contracts.deal import ContractDocument
from contracts.deal_format import DealError, deal_as_dict, deal_of, parse_contract
from contracts.durations import between, parse_duration
from contracts.models import Anchor, Contract, ContractTemplate, Customer, shared_commit_keys
from contracts.refusals import refusal_of_faults, refusal_of_model
from contracts.renewing import renewed
from contracts.templates import contract_of
from meters.periods import local_midnight

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SUCCEEDING = ("name", "currency", "timezone", "billing_every", "billing_anchor", "anchor_date", "net_days", "shadow")
# A renewal is ordered anew: the purchase order of the old contract does not go with it.


def sign_up(
    template: ContractTemplate,
    customer: Customer,
    starting_at: datetime,
    key: str,
    actor: "User | None" = None,
    **fields: Any,
) -> Contract:
    """A contract of a customer on a template's terms; `fields` of the billing file's contract object go before the
    template's. The same key twice is one contract.

    Raises RuleError naming the field, ConflictError when the key is another contract's.
    """
    with transaction.atomic(), authored_by(actor):
        # Two requests with one key wait here for each other.
        Customer.objects.select_for_update().get(pk=customer.pk)
        starting_at = starting_at.astimezone(UTC)
        if made := Contract.objects.filter(key=key).first():
            same = (made.customer_id, made.template_id, made.starting_at)
            return _same(made, same == (customer.pk, template.pk, starting_at))
        if template.archived_at is not None:
            raise RuleError(f"{template} is no longer offered.", code="archived", path="template")
        document = _document(template, customer, starting_at, {"key": key, **fields})
        contract = contract_from(document, customer)
        contract.rate_card, contract.template = template.rate_card, template
        return _agreed(contract)


def renew(
    contract: Contract,
    key: str,
    actor: "User | None",
    *,
    ending_before: datetime | None = None,
    term: str = "",
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
) -> Contract:
    """The successor of a contract, from its end on, with its terms moved by the calendar and then changed.

    It ends at `ending_before`, after `term` (P1Y), else lasts as long as the contract before. The same key twice is one
    contract.
    """
    with transaction.atomic(), authored_by(actor, reason):
        old = locked_contract(contract.pk)
        start = old.ending_before
        if start is None:
            raise RuleError("The contract has no end: end it first, then renew it.", code="open", path="contract")
        if made := Contract.objects.filter(key=key).first():
            return _same(made, (made.customer_id, made.starting_at) == (old.customer_id, start))
        deal = renewed(old.parsed_deal, old.starting_at, start, old.zone)
        end = ending_before or (_after(term, start, old.zone) if term else None)
        net_days = old.net_days
        try:
            if changes:
                read = parse_changes(changes, old.zone)
                deal = amended(deal, read, start, catalog_of(old.rate_card, shared_commit_keys(old.customer)))
                net_days = old.net_days if read.net_days is None else read.net_days
        except DealError as error:
            raise refusal_of_faults(error.faults) from error
        made = Contract(key=key, customer=old.customer, rate_card=old.rate_card, template=old.template, renews=old)
        for name in SUCCEEDING:
            setattr(made, name, getattr(old, name))
        made.starting_at, made.ending_before = start, end or _as_long(old, start)
        made.deal, made.net_days = deal_as_dict(deal), net_days
        return _agreed(made)


def contract_from(document: ContractDocument, customer: Customer) -> Contract:
    """An unsaved contract of what a contract object says, but for its rate card. Raises RuleError for its anchor."""
    anchor, anchor_date = document.billing.anchor, None
    if anchor not in (Anchor.CALENDAR, Anchor.CONTRACT):
        try:
            anchor, anchor_date = Anchor.DATE, datetime.fromisoformat(document.billing.anchor).date()
        except ValueError as error:
            message = f"is {anchor!r}; write calendar, contract or a date such as 2026-01-15"
            raise RuleError(message, code="value", path="billing.anchor") from error
    return Contract(
        key=document.key,
        name=document.name,
        customer=customer,
        starting_at=document.starting_at,
        ending_before=document.ending_before,
        timezone=document.timezone or customer.timezone,
        billing_every=document.billing.every,
        billing_anchor=anchor,
        anchor_date=anchor_date,
        net_days=document.net_days,
        purchase_order=document.purchase_order or "",
        shadow=document.shadow,
        deal=deal_as_dict(deal_of(document)),
    )


def as_signed(template: ContractTemplate, day: date) -> Contract:
    """A contract on a template's terms from a day on: nobody's, not saved. Raises DealError, OverflowError past the
    calendar's end.
    """
    zone = ZoneInfo(template.document.get("timezone") or "UTC")
    card = template.rate_card
    written = contract_of(template.document, local_midnight(day, zone), zone)
    named = {"key": template.key, "name": template.name, "customer": template.key, "rate_card": card.key}
    contract = contract_from(parse_contract({**named, **written}, zone), Customer(timezone=zone.key))
    contract.rate_card, contract.currency, contract.template = card, card.currency, template
    return contract


def as_document(contract: Contract) -> dict[str, Any]:
    """A contract as the billing file's contract object, without its key, customer and start."""
    anchor = contract.anchor_date.isoformat() if contract.anchor_date else contract.billing_anchor
    return {
        "name": contract.name,
        "rate_card": contract.rate_card.key,
        "ending_before": contract.ending_before,
        "timezone": contract.timezone,
        "billing": {"every": contract.billing_every, "anchor": anchor},
        "net_days": contract.net_days,
        "shadow": contract.shadow,
        **contract.deal,
    }


def _document(
    template: ContractTemplate, customer: Customer, starting_at: datetime, fields: Mapping[str, Any]
) -> ContractDocument:
    named = {"customer": customer.key, "rate_card": template.rate_card.key, "name": template.name}
    try:
        zone = ZoneInfo(str(fields.get("timezone") or template.document.get("timezone") or customer.timezone))
    except (KeyError, ValueError, OSError) as error:
        message = f"{fields.get('timezone')!r} is not a time zone name"
        raise RuleError(message, code="unknown", path="timezone") from error
    try:
        written = {**named, **contract_of(template.document, starting_at, zone), **fields}
        return parse_contract(written, zone, catalog_of(template.rate_card, shared_commit_keys(customer)))
    except DealError as error:
        raise refusal_of_faults(error.faults) from error


def _agreed(contract: Contract) -> Contract:
    try:
        contract.full_clean()
    except ValidationError as error:
        raise refusal_of_model(error) from error
    settle(contract)
    contract.save()
    return contract


def _same(made: Contract, is_same: bool) -> Contract:
    if not is_same:
        raise ConflictError(f"{made.key} is the key of another contract.", code="taken", path="key")
    return made


def _after(term: str, start: datetime, zone: ZoneInfo) -> datetime:
    try:
        return parse_duration(term).after(start, zone)
    except (ValueError, OverflowError) as error:
        raise RuleError(str(error), code="duration", path="term") from error


def _as_long(old: Contract, start: datetime) -> datetime:
    return between(old.starting_at, start, old.zone).after(start, old.zone)
