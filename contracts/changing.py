"""Changing a contract in force: one locked step that keeps what was before, what is after, and who did it.

A change beyond the guardrails is written down as a waiting amendment and nothing else happens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Max
from django.utils import timezone

from billing_project.errors import ConflictError, RuleError
from contracts.billing_periods import redraw_periods
from contracts.guardrails import Excess
from contracts.models import Amendment, Contract, Standing
from contracts.refusals import refusal_of_model

if TYPE_CHECKING:
    from django.contrib.auth.models import User

COLUMNS = {column.name: column for column in Contract._meta.concrete_fields}
REDRAWING = ("starting_at", "ending_before", "timezone", "billing_every", "billing_anchor", "anchor_date")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change as it was asked for. `request_key`: the same request twice is one change."""

    kind: str
    effective_at: datetime | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""
    request_key: str = ""
    actor: "User | None" = None


def locked_contract(contract: int) -> Contract:
    """The row of a contract, locked until the commit; the close waits for it."""
    return (
        Contract.objects.select_related("customer", "rate_card")
        .select_for_update(no_key=True, of=("self",))
        .get(pk=contract)
    )


def closed_until(contract: Contract) -> datetime | None:
    """The end of the last closed period: what lies before is billed."""
    closed = contract.billing_periods.filter(closed_at__isnull=False)
    until: datetime | None = closed.aggregate(until=Max("ending_before"))["until"]
    return until


def require_open(contract: Contract, at: datetime, path: str = "effective_at") -> None:
    """Raises RuleError for an instant in a closed period or outside of the contract, naming the first that is not."""
    until = closed_until(contract)
    if until is not None and at < until:
        raise RuleError(
            f"The period up to {until.astimezone(contract.zone).isoformat()} is closed: choose "
            f"{until.astimezone(contract.zone).isoformat()} or later.",
            code="closed",
            path=path,
        )
    if at < contract.starting_at or (contract.ending_before is not None and at > contract.ending_before):
        raise RuleError("Choose an instant within the contract.", code="outside", path=path)


def repeated_request(contract: Contract, wanted: Wanted) -> Amendment | None:
    """The amendment a request made when it came before. Raises ConflictError when its key was another request's."""
    if not wanted.request_key:
        return None
    made = contract.amendments.filter(request_key=wanted.request_key).first()
    if made and (made.kind, made.changes, made.effective_at) != (wanted.kind, wanted.changes, wanted.effective_at):
        raise ConflictError(f"{wanted.request_key} is the key of another request.", path="request_key")
    return made


def change(contract: Contract, values: Mapping[str, Any], wanted: Wanted, beyond: Sequence[Excess] = ()) -> Amendment:
    """Set columns of a locked contract, or let the amendment wait when something of it is `beyond` the guardrails."""
    before = columns_as_written(contract, values)
    for name, value in values.items():
        setattr(contract, name, value)
    try:
        contract.full_clean()
    except ValidationError as error:
        raise refusal_of_model(error) from error
    amendment = Amendment(
        contract=contract,
        kind=wanted.kind,
        status=Amendment.Status.WAITING if beyond else Amendment.Status.APPLIED,
        effective_at=wanted.effective_at,
        changes=wanted.changes,
        before=before,
        after=columns_as_written(contract, values),
        beyond=[str(excess)[:300] for excess in beyond],
        reason=wanted.reason,
        request_key=wanted.request_key,
        created_by=wanted.actor,
    )
    amendment.save()
    if beyond:
        contract.refresh_from_db()
    else:
        _save(contract, values)
    return amendment


def put_in_force(amendment: Amendment) -> None:
    """Set what a waiting amendment agreed, if nothing of it changed or closed meanwhile."""
    contract = locked_contract(amendment.contract_id)
    if amendment.effective_at is not None:
        require_open(contract, amendment.effective_at)
    if columns_as_written(contract, amendment.before) != amendment.before:
        raise ConflictError("The contract was changed since this was asked for: reject it and ask again.", code="stale")
    for name, written in amendment.after.items():
        column = COLUMNS[name]
        setattr(contract, column.attname, column.to_python(written))
    try:
        contract.full_clean()
    except ValidationError as error:
        raise refusal_of_model(error) from error
    _save(contract, amendment.after)
    amendment.contract = contract


def columns_as_written(contract: Contract, names: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of a contract as JSON: instants as text, foreign keys as ids."""
    written = {}
    for name in names:
        value = getattr(contract, COLUMNS[name].attname)
        if isinstance(value, datetime):
            value = value.astimezone(UTC)
        written[name] = value.isoformat() if isinstance(value, date) else value
    return written


def _save(contract: Contract, names: Mapping[str, Any]) -> None:
    contract.save()
    if set(REDRAWING) & set(names) and contract.status == Standing.ACTIVE:
        redraw_periods(contract, timezone.now())
