"""Statements as they would have been at an instant: the terms and draws known then, with all usage known now.

At the instant of its approval the statement of a period is the invoice that was issued.
"""

from collections.abc import Sequence
from datetime import datetime

from contracts.models import BillingPeriod
from invoicing.drafts import build
from invoicing.inputs import Terms
from invoicing.models import Status
from invoicing.statement import Statement


def statements_as_known(periods: Sequence[BillingPeriod], known_at: datetime) -> list[Statement]:
    """The statements of billing periods that were not issued by then, in the same order; the contracts must have been
    there.

    A fixed number of queries. Expects `contract.customer` and `contract.rate_card` selected along.
    """
    terms = Terms([period.contract for period in periods], known_at=known_at)
    built = {each.period.pk: each.statement for each in build(periods, terms=terms) if each.period}
    return [built[period.pk] for period in periods]


def statement_again(period: BillingPeriod, known_at: datetime | None = None) -> Statement:
    """The statement of one billing period, issued or not, by the terms known now or at an instant."""
    issued = period.invoices.filter(issued_at__isnull=False).exclude(status=Status.VOID)
    if known_at is not None:
        issued = issued.filter(issued_at__lte=known_at)
    # What it drew itself when it was issued is not drawn before it.
    before = period.starting_at if issued.exists() else None
    (built,) = build([period], terms=Terms([period.contract], before, known_at=known_at))
    return built.statement
