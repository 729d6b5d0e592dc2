"""The totals a contract's usage came to, period by period."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Window
from django.db.models.functions import RowNumber

from invoicing.models import Invoice, Status

MOST = 6


def last_totals(invoices: Sequence[Invoice], most: int = MOST) -> Mapping[int, list[Decimal]]:
    """The last `most` totals up to and with each usage invoice, oldest first, by invoice. One query for all."""
    wanted = [invoice for invoice in invoices if invoice.kind == Invoice.Kind.USAGE]
    if not wanted:
        return {}
    per_contract = Counter(invoice.contract_id for invoice in wanted)
    rows = (
        Invoice.objects.filter(
            contract__in=per_contract,
            kind=Invoice.Kind.USAGE,
            ending_before__lte=max(invoice.ending_before for invoice in wanted),
        )
        .exclude(status=Status.VOID)
        .annotate(
            place=Window(RowNumber(), partition_by="contract", order_by=F("ending_before").desc()),
        )
        # Of a contract with several invoices here, the oldest looks that much further back.
        .filter(place__lte=most + max(per_contract.values()) - 1)
    )
    known: dict[int, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for contract, end, total in rows.order_by("ending_before").values_list("contract", "ending_before", "total"):
        known[contract].append((end, total))
    return {
        invoice.pk: [total for end, total in known[invoice.contract_id] if end <= invoice.ending_before][-most:]
        for invoice in wanted
    }
