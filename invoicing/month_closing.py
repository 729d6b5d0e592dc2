"""Closing a month as people do it: what is left to do is said first, and closing all the same needs a reason."""

from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from django.utils import timezone

from billing_project.errors import RuleError
from invoicing.accounting import close_month
from invoicing.models import AccountingPeriod
from invoicing.month_checks import open_work, still_open
from invoicing.permissions import require

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def close_checked_month(
    month: date, actor: "User | None", reason: str = "", progress: Callable[[int], None] = lambda _: None
) -> AccountingPeriod:
    """Close a month of the books when nothing of it is left to do, or with a reason although something is.

    Raises RuleError naming what is still open, and whatever `close_month` raises. Closing it again changes nothing.
    """
    if actor is not None:
        require(actor, "invoicing.close_month")
    month, reason = month.replace(day=1), reason.strip()
    known = AccountingPeriod.objects.filter(month=month).first()
    if known is not None:
        return known
    left = still_open(open_work(month, timezone.now()))
    if left and not reason:
        raise RuleError(
            f"{month:%B %Y} is not closed. Still open: {', '.join(left)}. Finish them, or say why the month is closed "
            "without.",
            code="still_open",
            path="reason",
        )
    return close_month(month, actor, progress, reason=reason if left else "")
