"""Closing billing periods: each gets exactly one invoice, however often, from however many processes.

A chunk of contracts with something due is claimed with `SKIP LOCKED` and closed in one transaction together with its
invoices: a run that is killed leaves whole chunks behind, and two runs at once take different contracts.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from billing_project.errors import RuleError
from billing_project.garbage import collected_seldom
from billing_project.rows import update_rows
from contracts.billing_periods import write_periods
from contracts.models import BillingPeriod, Contract, Standing
from invoicing.auto_approval import auto_approve
from invoicing.corrections import find_late_usage
from invoicing.draft_rows import write_drafts
from invoicing.drafts import build
from invoicing.fees import due_fees, next_fees_at
from invoicing.flags import flags_of
from invoicing.inputs import Terms
from invoicing.models import Invoice, Status
from invoicing.rebuilding import rebuild

CHUNK = 500


@dataclass(slots=True)
class CloseSummary:
    """What a run of the close did: periods closed, scheduled invoices written, drafts moved to review, and totals of
    the new invoices by currency. `not_searched` says why late usage could not be looked for.
    """

    closed: int = 0
    scheduled: int = 0
    reviewed: int = 0
    totals: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    not_searched: str = ""


Progress = Callable[[int], None]


def grace() -> timedelta:
    """How long after its period a draft waits for late events before it goes to review."""
    return timedelta(hours=settings.INVOICE_GRACE_HOURS)


def due_periods(as_of: datetime, contract: str | None = None) -> QuerySet[BillingPeriod]:
    """Written periods that have ended by `as_of` and have no invoice yet."""
    due = BillingPeriod.objects.filter(closed_at__isnull=True, ending_before__lte=as_of)
    due = due.filter(contract__shadow=False, contract__status=Standing.ACTIVE)
    return due.filter(contract__key=contract) if contract else due


def write_due_periods(as_of: datetime, contract: str | None = None) -> int:
    """Write the billing periods up to `as_of`; returns how many are due now."""
    write_periods(as_of, Contract.objects.filter(key=contract) if contract else None)
    return due_periods(as_of, contract).count()


@collected_seldom()
def close_periods(
    as_of: datetime, contract: str | None = None, progress: Progress = lambda _: None, *, alone: bool = False
) -> CloseSummary:
    """Close every due period, bill late usage on drafts, move those past their grace to review. Safe to repeat, to
    kill, to run twice at once.

    `alone`: nothing was billed before and nobody else writes meanwhile, so drafts of one chunk, which were built
    together a moment ago, go to review as they are.
    """
    summary = CloseSummary()
    write_due_periods(as_of, contract)
    after, chunks = 0, 0
    while True:
        before = summary.closed
        last = _close_chunk(as_of, contract, summary, after)
        if last is None and after == 0:
            break
        chunks += last is not None
        # From the first contract again after the last one: some of theirs may have come or be left.
        after = last or 0
        progress(summary.closed - before)
    try:
        find_late_usage(as_of, contract)
    except RuleError as refusal:
        # What is due is billed all the same; the late days stay on their queue.
        summary.not_searched = refusal.message
    if alone and chunks == 1:
        _review_as_built(as_of, summary)
    while _review_chunk(as_of, contract, summary):
        pass
    return summary


def _close_chunk(as_of: datetime, contract: str | None, summary: CloseSummary, after: int) -> int | None:
    """Close what is due of some contracts past an id, in order of time within each; returns the id of the last one of
    which everything is closed, None if nothing is due. The contracts' rows are locked until the commit.
    """
    with transaction.atomic():
        contracts = list(
            _contracts_due(as_of, contract)
            .filter(pk__gt=after)
            .select_related("customer")
            .prefetch_related("rate_card")
            .order_by("pk")
            .select_for_update(skip_locked=True, no_key=True, of=("self",))[:CHUNK]
        )
        if not contracts:
            return None
        periods, unfinished = _periods_due(contracts, as_of)
        with_fees = [
            each for each in contracts if each.next_fees_at and each.next_fees_at <= as_of and each.pk not in unfinished
        ]
        terms = Terms(contracts)
        built = build(periods, due_fees(terms, with_fees, as_of), terms=terms)
        write_drafts(built)
        BillingPeriod.objects.filter(pk__in=[period.pk for period in periods]).update(closed_at=timezone.now())
        update_rows(Contract, ["next_fees_at"], [(each.pk, next_fees_at(terms, each, as_of)) for each in with_fees])
    summary.closed += len(periods)
    summary.scheduled += len(built) - len(periods)
    for statement in (each.statement for each in built):
        summary.totals[statement.currency] += statement.total
    return min(unfinished) - 1 if unfinished else contracts[-1].pk


def _contracts_due(as_of: datetime, contract: str | None) -> QuerySet[Contract]:
    """Contracts with a period to close or a fee to bill. A shadow contract bills nothing, nor does one not agreed
    yet.
    """
    open_period = BillingPeriod.objects.filter(
        contract=OuterRef("pk"), closed_at__isnull=True, ending_before__lte=as_of
    )
    due = Contract.objects.filter(Exists(open_period) | Q(next_fees_at__lte=as_of), shadow=False)
    due = due.filter(status=Standing.ACTIVE)
    return due.filter(key=contract) if contract else due


def _periods_due(contracts: list[Contract], as_of: datetime) -> tuple[list[BillingPeriod], set[int]]:
    """The first CHUNK due periods of contracts, in order of time within each, and the contracts that have more."""
    known = {contract.pk: contract for contract in contracts}
    due = BillingPeriod.objects.filter(contract__in=known, closed_at__isnull=True, ending_before__lte=as_of)
    periods = list(due.order_by("contract", "starting_at").select_for_update()[: CHUNK + 1])
    for period in periods:
        period.contract = known[period.contract_id]
    left = {contract for contract in known if len(periods) > CHUNK and contract >= periods[CHUNK].contract_id}
    return periods[:CHUNK], left


def _review_chunk(as_of: datetime, contract: str | None, summary: CloseSummary) -> int:
    """Rebuild drafts whose grace is over with all usage known now, and put them in the review queue."""
    ready = _ready(as_of).filter(contract__key=contract) if contract else _ready(as_of)
    with transaction.atomic():
        drafts = list(
            ready.select_related("contract__customer", "period")
            .prefetch_related("contract__rate_card")
            .order_by("pk")
            .select_for_update(skip_locked=True, of=("self",))[:CHUNK]
        )
        if not drafts:
            return 0
        for draft in drafts:
            draft.status = Status.IN_REVIEW
            if draft.period:
                draft.period.contract = draft.contract
        rebuild(drafts)
        auto_approve(drafts)
    summary.reviewed += len(drafts)
    return len(drafts)


def _review_as_built(as_of: datetime, summary: CloseSummary) -> None:
    with transaction.atomic():
        drafts = list(_ready(as_of).select_related("contract").order_by("pk"))
        flags = flags_of([(draft, draft.total.amount) for draft in drafts])
        for draft in drafts:
            draft.attention = [*draft.attention, *flags[draft.pk]]
        rows = [(draft.pk, Status.IN_REVIEW, draft.attention) for draft in drafts]
        update_rows(Invoice, ("status", "attention"), rows)
        auto_approve(drafts)
    summary.reviewed += len(drafts)


def _ready(as_of: datetime) -> QuerySet[Invoice]:
    """Drafts whose grace is over. A scheduled invoice waits for no usage."""
    return Invoice.objects.filter(
        Q(kind=Invoice.Kind.USAGE, ending_before__lte=as_of - grace()) | Q(scheduled_at__lte=as_of),
        status=Status.DRAFT,
    )
