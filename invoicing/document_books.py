"""What must be true of the documents: sums and roundings, numbers, and that issued ones are as they were."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import F, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce, Mod

from billing_project.decimals import plain
from billing_project.fields import ExactField
from catalog.money import ZERO, add, minor_unit, negate
from contracts.balances import POSTPAID
from invoicing.models import (
    FROZEN,
    CreditNote,
    CreditNoteLine,
    Invoice,
    InvoiceLine,
    JournalPosting,
    NumberSeries,
    Status,
)
from invoicing.models.invoices import LIVING_FIELDS
from invoicing.taxation import read_taxes
from invoicing.totals import NOT_CHARGES

# A document's amount, as its customer owes it: what it earns, defers, or charges as tax.
OWED = ("revenue", "credits", "deferred_revenue", "unbilled", "tax")
SIGNS = {"discount": -1, "credits_applied": -1, "tax": 1, "already_invoiced": -1}
KINDS = {"discount": "discount", "credits_applied": "draw", "tax": "tax", "already_invoiced": "already_invoiced"}
# The row as it is now beside the row as it was when it was issued: what differs that may not.
CHANGED = """
SELECT d.number, e.pgh_id IS NULL, coalesce((
    SELECT string_agg(now.key, ', ' ORDER BY now.key)
    FROM jsonb_each(to_jsonb(d)) AS now JOIN jsonb_each(to_jsonb(e)) AS before USING (key)
    WHERE now.value <> before.value AND key <> ALL(%(living)s)
), '')
FROM {table} AS d LEFT JOIN LATERAL (
    SELECT * FROM {history} AS h WHERE h.pgh_obj_id = d.id AND h.status = 'issued' ORDER BY h.pgh_id LIMIT 1
) AS e ON true
WHERE d.status = ANY(%(frozen)s) ORDER BY d.id
"""


def lines_add_up_to_totals() -> Iterator[str]:
    """Every total of an invoice is the sum of its rounded lines of that kind; lines in a pricing unit come in by their
    conversion.
    """
    sums: dict[str, Coalesce] = {"total": _sum_of_lines(), "subtotal": _sum_of_lines(~Q(kind__in=NOT_CHARGES))}
    sums |= {name: _sum_of_lines(Q(kind=kind)) for name, kind in KINDS.items()}
    right = Q(**{name: SIGNS.get(name, 1) * F(f"of_{name}") for name in sums})
    for invoice in Invoice.objects.annotate(**{f"of_{name}": each for name, each in sums.items()}).exclude(right):
        for name in sums:
            stated, found = getattr(invoice, name), SIGNS.get(name, 1) * getattr(invoice, f"of_{name}")
            stated = getattr(stated, "amount", stated)
            if stated != found:
                word, currency = name.replace("_", " "), invoice.total.currency
                yield (
                    f"Invoice {invoice.pk} ({invoice}): the {word} is {plain(stated)} {currency}, its lines add up to "
                    f"{plain(found)}."
                )


def _sum_of_lines(which: Q | None = None) -> Coalesce:
    lines = InvoiceLine.objects.filter(which or Q(), invoice=OuterRef("pk"), unit="").order_by().values("invoice")
    return Coalesce(Subquery(lines.annotate(sum=Sum("amount")).values("sum")), ZERO, output_field=ExactField())


def amounts_are_rounded() -> Iterator[str]:
    """A line's amount is in whole minor units of its currency, and not a whole unit off its exact amount; not two where
    it is a part of a rounded amount that includes its tax.
    """
    for currency in Invoice.objects.order_by().values_list("currency", flat=True).distinct():
        unit = minor_unit(currency)
        lines = InvoiceLine.objects.filter(invoice__currency=currency, unit="").annotate(
            rest=Mod("amount", Value(unit, ExactField()), output_field=ExactField()),
            off=F("amount") - F("amount_exact"),
        )
        off = Q(gross_amount=None, off__gte=unit) | Q(gross_amount=None, off__lte=-unit)
        far = Q(off__gte=2 * unit) | Q(off__lte=-2 * unit)
        wrong = lines.filter(~Q(rest=0) | off | far).select_related("invoice__customer")
        for line in wrong.iterator():
            yield (
                f"Invoice {line.invoice_id} ({line.invoice}), line {line.position}: {plain(line.amount)} {currency} is "
                f"not {plain(line.amount_exact)} rounded."
            )


def issued_is_unchanged() -> Iterator[str]:
    """Issued invoices and credit notes say what they said when they were issued: their history has kept it."""
    with connection.cursor() as cursor:
        documents: list[tuple[Any, Iterable[str], Iterable[str]]] = [
            (Invoice, LIVING_FIELDS, FROZEN),
            (CreditNote, (), (CreditNote.Status.ISSUED,)),
        ]
        for model, living, frozen in documents:
            table, history = model._meta.db_table, model.pgh_event_model._meta.db_table
            names = {"living": list(living), "frozen": list(frozen)}
            cursor.execute(CHANGED.format(table=table, history=history), names)
            for number, unknown, changed in cursor.fetchall():
                if unknown:
                    yield f"{number}: its history never saw it issued."
                elif changed:
                    yield f"{number}: it was changed after it was issued ({changed}); its history has what it said."


def numbers_have_no_gaps() -> Iterator[str]:
    """The issued documents of a series carry its numbers from 1 to the last one, each once."""
    carried: dict[str, list[int]] = {each.prefix: [] for each in NumberSeries.objects.all()}
    for number in _numbers():
        # The longest: one prefix may begin like another.
        prefix = max((each for each in carried if number.startswith(each)), key=len, default=None)
        digits = number.removeprefix(prefix or "")
        if prefix is None or not digits.isdecimal():
            yield f"{number} is of no number series."
        else:
            carried[prefix].append(int(digits))
    for series in NumberSeries.objects.all():
        found, wanted = sorted(carried[series.prefix]), range(1, series.last_number + 1)
        if found != list(wanted):
            missing = ", ".join(map(str, sorted({*wanted}.difference(found))[:5]))
            beyond = ", ".join(map(str, sorted(set(found).difference(wanted))[:5]))
            yield (
                f"Number series {series}: {series.last_number} numbers are given out, {len(found)} documents carry "
                f"one{f'; {missing} missing' if missing else ''}{f'; {beyond} beyond the last' if beyond else ''}."
            )


def _numbers() -> Iterator[str]:
    for documents in (Invoice.objects.all(), CreditNote.objects.all()):
        for number in documents.exclude(number=None).values_list("number", flat=True).order_by("pk").iterator():
            yield str(number)


def draws_are_shown() -> Iterator[str]:
    """Every draw that pays for something is a line of its invoice, and every such line is a draw. What counts against a
    postpaid commit is paid by the customer.
    """
    lines: dict[int, dict[int, tuple[str, Decimal]]] = defaultdict(dict)
    rows = InvoiceLine.objects.filter(kind="draw").values_list(
        "invoice", "position", "balance", "amount", "gross_amount"
    )
    for number, position, balance, amount, gross in rows.iterator():
        lines[number][position] = balance, negate(amount if gross is None else gross)
    drawing = Invoice.objects.filter(Q(pk__in=lines) | ~Q(draws=[])).select_related("customer")
    for invoice in drawing.iterator():
        drawn = {
            each["position"]: (each["balance"], Decimal(each["amount"]))
            for each in invoice.draws
            if each["kind"] != POSTPAID
        }
        shown = lines.get(invoice.pk, {})
        for position in sorted({*shown, *drawn}):
            if shown.get(position) != drawn.get(position):
                yield (
                    f"Invoice {invoice.pk} ({invoice}), line {position}: it shows {_draw(shown.get(position))} drawn, "
                    f"what it takes is {_draw(drawn.get(position))}."
                )


def _draw(found: tuple[str, Decimal] | None) -> str:
    return f"{plain(found[1])} of {found[0]}" if found else "nothing"


def earlier_invoices_are_subtracted() -> Iterator[str]:
    """The invoice of a period takes off each threshold invoice of the period that is not void, once and whole."""
    standing = Invoice.objects.filter(status__in=FROZEN, period__isnull=False).exclude(status=Status.VOID)
    earlier: dict[int | None, dict[str, Decimal]] = defaultdict(dict)
    for each in standing.filter(kind=Invoice.Kind.THRESHOLD).exclude(total=0):
        earlier[each.period_id][each.number or ""] = each.total.amount
    finals = standing.filter(kind=Invoice.Kind.USAGE)
    lines = InvoiceLine.objects.filter(kind="already_invoiced", invoice__in=finals)
    taken: dict[int, dict[str, Decimal]] = defaultdict(dict)
    for invoice_id, source, amount in lines.values_list("invoice", "source", "amount"):
        taken[invoice_id][source] = add([taken[invoice_id].get(source, ZERO), negate(amount)])
    for invoice in finals.filter(Q(period__in=earlier) | Q(pk__in=taken)).select_related("customer"):
        billed, off = earlier.get(invoice.period_id, {}), taken.get(invoice.pk, {})
        for number in sorted({*billed, *off}):
            if billed.get(number) != off.get(number):
                yield (
                    f"Invoice {invoice} takes off {plain(off.get(number, ZERO))} for {number}, which billed "
                    f"{plain(billed.get(number, ZERO))} of its period."
                )


def credit_notes_stay_within_bounds() -> Iterator[str]:
    """A credit note is the sum of its lines and their tax; together they credit no more than a line and its invoice."""
    asked = CreditNote.objects.exclude(status=CreditNote.Status.REJECTED)
    lines = CreditNoteLine.objects.filter(credit_note=OuterRef("pk")).order_by().values("credit_note")
    of_lines = Coalesce(Subquery(lines.annotate(sum=Sum("amount")).values("sum")), ZERO, output_field=ExactField())
    for note in CreditNote.objects.annotate(of_lines=of_lines).select_related("invoice__customer").iterator():
        tax = add(each.amount for each in read_taxes(note.taxes)) if note.taxes else note.tax
        if note.subtotal != note.of_lines or note.tax != tax or note.total != add([note.subtotal, note.tax]):
            yield f"Credit note {note.pk} ({note}): its total is not the sum of its lines and their tax."
    credited = CreditNoteLine.objects.filter(credit_note__in=asked).values_list("line", "line__invoice__number")
    over = credited.annotate(sum=Sum("amount"), of=F("line__amount"), place=F("line__position"))
    for _, number, total, amount, place in over.filter(sum__gt=F("of")).order_by("line"):
        yield f"Invoice {number}, line {place}: {plain(total)} of it is credited, it is {plain(amount)}."
    sums = asked.values_list("invoice__number").annotate(sum=Sum("total"), of=F("invoice__total"))
    for number, total, amount in sums.filter(sum__gt=F("of")).order_by("invoice__number"):
        yield f"Invoice {number}: {plain(total)} of it is credited, it is {plain(amount)}."


def documents_are_in_the_books() -> Iterator[str]:
    """What each issued document earns, defers and charges as tax in the books is its total; of a voided one nothing."""
    rows = JournalPosting.objects.filter(account__in=OWED).exclude(entry__kind="accrual")
    booked = dict(rows.values_list("entry__document").annotate(sum=Sum("amount")).order_by())
    for number, shown in _shown():
        found = negate(booked.pop(number, ZERO))
        if found != shown:
            yield f"Document {number}: it comes to {plain(shown)}, the books have {plain(found)}."
    for number, found in sorted(booked.items()):
        if found:
            yield f"Document {number or 'without a number'}: it is not issued, the books have {plain(negate(found))}."


def _shown() -> Iterable[tuple[str, Decimal]]:
    invoices = Invoice.objects.filter(status__in=FROZEN).order_by("pk")
    for number, status, total in invoices.values_list("number", "status", "total"):
        yield number or "", ZERO if status == Status.VOID else _amount(total)
    notes = CreditNote.objects.filter(status=CreditNote.Status.ISSUED).order_by("pk")
    for number, total in notes.values_list("number", "total"):
        yield number or "", negate(total)


def _amount(stored: Any) -> Decimal:
    """Queries give money as it is stored, or with its currency."""
    return Decimal(getattr(stored, "amount", stored))
