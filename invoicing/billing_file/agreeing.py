"""Contracts of a billing file and the guardrails: what is inside is active at once, the rest waits and says so."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError

from contracts.approval import excesses_of, settle
from contracts.changing import Wanted, change, columns_as_written, locked_contract
from contracts.deal_format import Fault
from contracts.guardrails import NO_LIMITS, Guardrails, new_excesses
from contracts.models import Amendment, Contract, Standing
from invoicing.billing_file.faults import model_faults
from invoicing.billing_file.plan import Step

DECIDED = ["status", "status_note", "approved_by", "approved_at"]


def settled(row: Contract, made: Step, limits: Guardrails) -> Step:
    """The step of a saved contract that is not in force before, with what it waits for."""
    beyond = settle(row, limits)
    if beyond or made.action != "create":
        row.save(update_fields=DECIDED)
    return replace(made, details=(*made.details, *(f"waits for approval: {excess}" for excess in beyond)))


def waiting_change(
    row: Contract, values: Mapping[str, Any], path: str, limits: Guardrails, names: Mapping[str, str]
) -> tuple[Step | None, list[Fault]]:
    """The step of a contract in force whose new terms go beyond the guardrails: they wait; no step if they do not."""
    if row.status != Standing.ACTIVE or limits == NO_LIMITS:
        return None, []
    wanted = copy(row)
    for name, value in values.items():
        setattr(wanted, name, value)
    beyond = new_excesses(excesses_of(row, limits=limits), excesses_of(wanted, limits=limits))
    if not beyond:
        return None, []
    try:
        wanted.full_clean()
    except ValidationError as error:
        return None, model_faults(path, error, names)
    changed = {name: value for name, value in values.items() if getattr(row, name) != getattr(wanted, name)}
    after = columns_as_written(wanted, changed)
    asked = row.amendments.filter(status=Amendment.Status.WAITING, after=after).exists()
    if not asked:
        change(locked_contract(row.pk), changed, Wanted(Amendment.Kind.EDIT), beyond)
    details = tuple(f"waits for approval: {excess}" for excess in beyond)
    return Step("unchanged" if asked else "change", "contract", row.key, details), []
