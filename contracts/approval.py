"""Deals beyond the guardrails wait for a second person: contracts, and amendments of contracts in force.

A contract inside the guardrails is active at once. Whoever had a hand in a deal since it was last decided on cannot
approve it.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from billing_project.history import authored_by, authors_since
from contracts.billing_periods import redraw_periods
from contracts.catalog_terms import units_of
from contracts.changing import Wanted, change, columns_as_written, locked_contract, put_in_force
from contracts.deal import Deal
from contracts.guardrails import NO_LIMITS, Excess, Guardrails, Proposal, excesses, new_excesses, unit_value
from contracts.models import Amendment, Contract, Standing, guardrails_in

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "contracts.approve_contract"


def excesses_of(contract: Contract, deal: Deal | None = None, limits: Guardrails | None = None) -> list[Excess]:
    """What of a contract's terms, as they stand on the object, goes beyond the guardrails (`limits`, if they are read
    already). A shadow gives nothing.
    """
    limits = guardrails_in(contract.currency) if limits is None else limits
    if contract.shadow or limits == NO_LIMITS:
        return []
    values = {key: unit_value(each.rate for each in rates) for key, rates in units_of(contract.rate_card).items()}
    terms = contract.parsed_deal if deal is None else deal
    proposal = Proposal(terms, contract.calendar, contract.currency, contract.net_days, values)
    return excesses(proposal, limits)


def settle(contract: Contract, limits: Guardrails | None = None) -> list[Excess]:
    """Make a contract that is not in force yet active, or let it wait, by its terms; it is not saved. Returns what it
    waits for.
    """
    beyond = excesses_of(contract, limits=limits)
    contract.status = Standing.AWAITING_APPROVAL if beyond else Standing.ACTIVE
    contract.status_note, contract.approved_by, contract.approved_at = "", None, None
    return beyond


def save_terms(contract: Contract, changed: Collection[str], actor: "User | None", reason: str = "") -> list[Excess]:
    """Save a contract somebody wrote or edited, its `changed` columns set and checked. Returns what of it waits.

    One in force keeps its terms while what goes beyond the guardrails waits as an amendment.
    """
    with transaction.atomic(), authored_by(actor, reason):
        row = locked_contract(contract.pk) if contract.pk else None
        if row is None or row.status != Standing.ACTIVE:
            beyond = settle(contract)
            contract.save()
            redraw_periods(contract, timezone.now())
            return beyond
        names = dict.fromkeys(changed)
        old, new = columns_as_written(row, names), columns_as_written(contract, names)
        values = {name: getattr(contract, name) for name in changed if old[name] != new[name]}
        if not values:
            return []
        beyond = new_excesses(excesses_of(row), excesses_of(contract))
        change(row, values, Wanted(Amendment.Kind.EDIT, reason=reason, actor=actor), beyond)
    return beyond


def approve_contract(contract: int, actor: "User", note: str = "") -> Contract:
    """Raises PermissionDenied without the permission, RuleError for an author of the deal, ConflictError when the
    contract is not waiting.
    """
    with transaction.atomic():
        row = _waiting_contract(contract, actor)
        _need_other_person(actor, authors_since(row, row.approved_at))
        row.status, row.status_note = Standing.ACTIVE, note
        row.approved_by, row.approved_at = actor, timezone.now()
        _save_decision(row, actor, note)
        redraw_periods(row, timezone.now())
    return row


def reject_contract(contract: int, actor: "User", note: str) -> Contract:
    """Send a waiting contract back to draft, with the reason."""
    with transaction.atomic():
        row = _waiting_contract(contract, actor)
        _need_reason(note)
        row.status, row.status_note = Standing.DRAFT, note
        _save_decision(row, actor, note)
    return row


def approve_amendment(amendment: int, actor: "User", note: str = "") -> Amendment:
    """Put a waiting amendment in force. Raises ConflictError when the terms changed since it was written."""
    with transaction.atomic():
        row = _waiting_amendment(amendment, actor)
        _need_other_person(actor, {row.created_by_id} if row.created_by_id else set())
        with authored_by(actor, note, decision=True):
            put_in_force(row)
            _decide(row, Amendment.Status.APPLIED, actor, note)
    return row


def reject_amendment(amendment: int, actor: "User", note: str) -> Amendment:
    with transaction.atomic():
        row = _waiting_amendment(amendment, actor)
        _need_reason(note)
        _decide(row, Amendment.Status.REJECTED, actor, note)
    return row


def _waiting_contract(contract: int, actor: "User") -> Contract:
    _require(actor)
    row = locked_contract(contract)
    if row.status != Standing.AWAITING_APPROVAL:
        raise ConflictError(f"{row} is {row.get_status_display().lower()}; only a contract that waits can be decided.")
    return row


def _waiting_amendment(amendment: int, actor: "User") -> Amendment:
    _require(actor)
    row = Amendment.objects.select_for_update().get(pk=amendment)
    if row.status != Amendment.Status.WAITING:
        raise ConflictError(f"{row} is {row.get_status_display().lower()}; only one that waits can be decided.")
    return row


def _save_decision(row: Contract, actor: "User", note: str) -> None:
    with authored_by(actor, note, decision=True):
        row.save(update_fields=["status", "status_note", "approved_by", "approved_at", "next_fees_at"])


def _decide(row: Amendment, status: Any, actor: "User", note: str) -> None:
    row.status, row.decided_by, row.decided_at, row.note = status, actor, timezone.now(), note
    row.save(update_fields=["status", "decided_by", "decided_at", "note"])


def _require(actor: "User") -> None:
    if not actor.has_perm(PERMISSION):
        raise PermissionDenied(f"{actor} may not do this: the permission {PERMISSION} is missing.")


def _need_other_person(actor: "User", authors: set[int]) -> None:
    if actor.pk in authors:
        raise RuleError("You wrote this deal: a second person must approve it.", code="four_eyes")


def _need_reason(note: str) -> None:
    if not note.strip():
        raise RuleError("Say why, so that the deal can be written anew.", code="required", path="note")
