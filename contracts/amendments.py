"""The dated changes of a contract: amend, grant a credit, change a quantity, end early, take an end back, renew.

Each locks the contract's row, refuses what would change a closed period, is kept with who asked and why, and done once
per request key.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import transaction

from billing_project.decimals import plain
from billing_project.errors import ConflictError, RuleError
from billing_project.history import authored_by
from catalog.documents import write
from contracts.amending import Changes, amended, cut_short, parse_changes
from contracts.approval import excesses_of
from contracts.catalog_terms import catalog_of
from contracts.changing import Wanted, change, closed_until, locked_contract, repeated_request, require_open
from contracts.deal import Deal
from contracts.deal_format import DealError, deal_as_dict
from contracts.granting import require_credit
from contracts.guardrails import new_excesses
from contracts.models import Amendment, Contract, LedgerEntry, Standing, shared_commit_keys
from contracts.refusals import refusal_of_faults

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Kind = Amendment.Kind


def amend(
    contract: Contract,
    effective_at: datetime,
    changes: Mapping[str, Any],
    actor: "User | None",
    reason: str = "",
    request_key: str = "",
) -> Amendment:
    """Add, end and change terms from an instant on; `changes` as `contracts.amending.Changes` reads them.

    Beyond the guardrails the amendment waits for approval. Raises RuleError with the path of what is wrong, such as
    `add.overrides[0].starting_at`, or when `effective_at` lies in a closed period.
    """
    with transaction.atomic(), authored_by(actor, reason):
        row = locked_contract(contract.pk)
        read = _read(changes, row)
        wanted = Wanted(Kind.AMEND, effective_at.astimezone(UTC), write(read), reason, request_key, actor)
        if made := repeated_request(row, wanted):
            return made
        _require_active(row)
        require_open(row, effective_at)
        _require_amounts(read)
        try:
            catalog = catalog_of(row.rate_card, shared_commit_keys(row.customer))
            deal = amended(row.parsed_deal, read, effective_at, catalog)
        except DealError as error:
            raise refusal_of_faults(error.faults) from error
        _require_ledger(row, read)
        _require_change(row, read, deal)
        values: dict[str, Any] = {"deal": deal_as_dict(deal)}
        if read.net_days is not None:
            values["net_days"] = read.net_days
        before = excesses_of(row)
        old_days, row.net_days = row.net_days, values.get("net_days", row.net_days)
        beyond = new_excesses(before, excesses_of(row, deal))
        row.net_days = old_days
        return change(row, values, wanted, beyond)


def grant_credit(
    contract: Contract,
    key: str,
    amount: Decimal,
    actor: "User | None",
    *,
    starting_at: datetime,
    ending_before: datetime | None = None,
    reason: str = "",
    request_key: str = "",
    **terms: Any,
) -> Amendment:
    """Give a credit that can be used from `starting_at` on; `terms` as in the billing file (scope, priority, name)."""
    require_credit(amount, "amount")
    access: dict[str, Any] = {"amount": plain(amount), "starting_at": starting_at.isoformat()}
    if ending_before is not None:
        access["ending_before"] = ending_before.isoformat()
    added = {"credits": [{"key": key, **terms, "access": [access]}]}
    return amend(contract, starting_at, {"add": added}, actor, reason, request_key)


def change_quantity(
    contract: Contract,
    subscription: str,
    quantity: Decimal,
    effective_at: datetime,
    actor: "User | None",
    reason: str = "",
    request_key: str = "",
    seats: Sequence[str] | None = None,
) -> Amendment:
    """Hold so many seats of a subscription from an instant on; `seats` names who has one (None: as before)."""
    named = {} if seats is None else {"seats": list(seats)}
    wanted = {"quantities": [{"subscription": subscription, "quantity": plain(quantity), **named}]}
    return amend(contract, effective_at, wanted, actor, reason, request_key)


def end_early(
    contract: Contract, at: datetime, actor: "User | None", reason: str = "", request_key: str = ""
) -> Amendment:
    """Let a contract end at an instant, past or to come: its last period is short, balances close, postpaid commits
    are trued up, what would fall due later is not billed.
    """
    with transaction.atomic(), authored_by(actor, reason):
        row = locked_contract(contract.pk)
        at = at.astimezone(UTC)
        wanted = Wanted(Kind.END, at, {"at": at.isoformat()}, reason, request_key, actor)
        if made := repeated_request(row, wanted):
            return made
        _require_active(row)
        if at <= row.starting_at:
            raise RuleError("A contract ends after it starts.", code="outside", path="at")
        if row.ending_before is not None and at >= row.ending_before:
            raise RuleError(
                f"The contract ends on {row.ending_before.astimezone(row.zone).isoformat()} already: choose an instant "
                "before, or renew it.",
                code="outside",
                path="at",
            )
        require_open(row, at, "at")
        deal = deal_as_dict(cut_short(row.parsed_deal, at))
        return change(row, {"ending_before": at, "deal": deal}, wanted)


def keep_going(contract: Contract, actor: "User | None", reason: str = "", request_key: str = "") -> Amendment:
    """Take back an early end: the contract has the terms and the end it had before. Raises ConflictError when it was
    amended or its last period closed since.
    """
    with transaction.atomic(), authored_by(actor, reason):
        row = locked_contract(contract.pk)
        wanted = Wanted(Kind.KEEP, None, {}, reason, request_key, actor)
        if made := repeated_request(row, wanted):
            return made
        _require_active(row)
        last = row.amendments.filter(status=Amendment.Status.APPLIED).order_by("-pk").first()
        if last is None or last.kind != Kind.END:
            raise ConflictError("The last change of the contract was no early end: there is none to take back.")
        until = closed_until(row)
        if until is not None and row.ending_before is not None and until >= row.ending_before:
            raise RuleError("Its last period is closed already: renew the contract instead.", code="closed")
        before = last.before
        end = datetime.fromisoformat(before["ending_before"]) if before["ending_before"] else None
        return change(row, {"ending_before": end, "deal": before["deal"]}, wanted)


def _read(changes: Mapping[str, Any], row: Contract) -> Changes:
    try:
        return parse_changes(changes, row.zone)
    except DealError as error:
        raise refusal_of_faults(error.faults) from error


def _require_active(row: Contract) -> None:
    if row.status != Standing.ACTIVE:
        raise ConflictError(
            f"{row} is {row.get_status_display().lower()}: edit the contract itself.", code="not_active"
        )


def _require_amounts(changes: Changes) -> None:
    """A window of zero is what an early end leaves of a credit; nobody gives one."""
    for index, credit in enumerate(changes.add.credits):
        for place, access in enumerate(credit.access):
            require_credit(access.amount, f"add.credits[{index}].access[{place}].amount")


def _require_change(row: Contract, changes: Changes, deal: Deal) -> None:
    """A quantity that is set again stays a success: who repeats it means the same."""
    days = row.net_days if changes.net_days is None else changes.net_days
    if not changes.quantities and (deal_as_dict(deal), days) == (deal_as_dict(row.parsed_deal), row.net_days):
        message = "The amendment changes nothing: say what is added, ended or changed."
        raise RuleError(message, code="nothing", path="changes")


def _require_ledger(row: Contract, changes: Changes) -> None:
    """A balance's entries stay: what has any cannot be given another meaning under the same key."""
    added = [(name, i, each.key) for name in BALANCES for i, each in enumerate(getattr(changes.add, name))]
    keys = [key for _, _, key in added]
    used = set(LedgerEntry.objects.filter(contract=row, balance__in=keys).values_list("balance", flat=True))
    for name, index, key in added:
        if key in used:
            message = f"{key} was a balance of the contract before: use another key."
            raise RuleError(message, code="used", path=f"add.{name}[{index}].key")


BALANCES = ("commits", "credits", "recurring_credits", "recurring_commits")
