"""Stripe Tax, where it is switched on: asked before an invoice is issued, written into it, told when it holds.

One item for each tax code is asked for, over what no earlier invoice of the period has billed: so the tax of a period
is the sum of what was asked for, and Stripe's reports add up to the books.
"""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing_project.decimals import plain
from billing_project.errors import RuleError
from catalog.models import Product
from catalog.money import ZERO, add, divide, negate, subtract
from invoicing import stripe_sync
from invoicing.models import Invoice, InvoiceLine, Status, StripePush, TaxAnswer
from invoicing.stripe_items import from_minor, to_minor
from invoicing.stripe_sync import NotNowError, RefusedError
from invoicing.stripe_words import taxed_customer
from invoicing.tax_terms import TREATMENTS, by_stripe
from invoicing.taxation import HUNDRED, TaxTotal, read_taxes, written_taxes

NO_LINES_OF = ("tax", "already_invoiced")
KEY = "stripe"


def ask_tax(invoice: Invoice) -> None:
    """Write the tax that Stripe computes into an invoice that is about to be approved or issued; nothing for customers
    who have terms of their own, and nothing new if the same was asked before. The row must be locked.

    Raises RuleError, with nothing written, when Stripe cannot tell.
    """
    if not by_stripe(invoice.paid_by):
        return
    asked = _asked(invoice)
    known = TaxAnswer.objects.filter(invoice=invoice).first()
    if known is not None and known.asked == asked and invoice.taxes == known.taxes:
        return
    told = _told(invoice, asked)
    earlier = _earlier(invoice)
    totals = _totals(invoice, told, earlier)
    _write(invoice, totals)
    TaxAnswer.objects.update_or_create(
        invoice=invoice,
        defaults={"calculation": told.get("id") or "", "asked": asked, "taxes": written_taxes(totals)},
    )


def record_tax(push: StripePush) -> None:
    """Tell Stripe Tax that an invoice was issued, for its reports. Safe to repeat."""
    answer = TaxAnswer.objects.filter(invoice=push.invoice).first()
    if answer is None or answer.transaction or not answer.calculation or push.invoice.status == Status.VOID:
        return
    answer.transaction = stripe_sync.record_tax(push, answer.calculation, str(push.invoice.number))
    answer.save(update_fields=["transaction"])


def take_tax_back(push: StripePush) -> None:
    """Tell Stripe Tax that an invoice was voided or credited in part. Safe to repeat."""
    answer = TaxAnswer.objects.filter(invoice=push.invoice).first()
    if answer is None or not answer.transaction or push.step not in (push.Step.VOID, push.Step.CREDIT_NOTE):
        return
    note, amount = push.credit_note, None
    if note is not None:
        amount = to_minor(negate(note.total), str(push.invoice.total.currency))
    reference = str(note.number) if note is not None else f"{push.invoice.number} void"
    if reference not in answer.taken_back:
        stripe_sync.take_tax_back(push, answer.transaction, reference, amount)
        answer.taken_back = [*answer.taken_back, reference]
        answer.save(update_fields=["taken_back"])


def _asked(invoice: Invoice) -> dict[str, Any]:
    currency = str(invoice.total.currency)
    earlier = _earlier(invoice)
    before = _bases(earlier) if earlier else {}
    items = []
    for code, base in sorted(_bases(invoice).items()):
        new = subtract(base, before.get(code, ZERO))
        if new < ZERO:
            raise RuleError(
                f"Stripe Tax takes no amounts below zero, and this invoice has {plain(new)} {currency}. Give the "
                "customer a rate of tax of its own, or credit the earlier invoice instead.",
                code="tax_below_zero",
            )
        if new:
            item = {"reference": code or KEY, "amount": to_minor(new, currency), "tax_behavior": "exclusive"}
            items.append({**item, "tax_code": code} if code else item)
    if not items:
        return {}
    return {"currency": currency.lower(), "line_items": items, "customer_details": taxed_customer(invoice.paid_by)}


def _bases(invoice: Invoice) -> Mapping[str, Decimal]:
    """What is to be taxed, before tax, by Stripe's tax code."""
    lines = invoice.lines.filter(unit="").exclude(kind__in=NO_LINES_OF)
    codes = _codes(invoice)
    found: dict[str, Decimal] = defaultdict(Decimal)
    for product, amount in lines.values_list("product", "amount"):
        code = codes.get(product, "")
        found[code] = add([found[code], amount])
    return found


def _codes(invoice: Invoice) -> dict[str, str]:
    """Products whose tax category is one of Stripe's codes; the others have the default of the account in Stripe."""
    rows = Product.objects.filter(key__in=invoice.lines.values("product"), tax_category__startswith="txcd_")
    return dict(rows.values_list("key", "tax_category"))


def _earlier(invoice: Invoice) -> Invoice | None:
    """The last threshold invoice that this one subtracts: it shows all that was billed of the period before."""
    numbers = invoice.lines.filter(kind="already_invoiced").order_by("-position").values_list("source", flat=True)
    return Invoice.objects.filter(number__in=list(numbers)).order_by("scheduled_at", "pk").last()


def _told(invoice: Invoice, asked: dict[str, Any]) -> dict[str, Any]:
    if not asked:
        return {}
    try:
        told = stripe_sync.calculate_tax(asked)
    except NotNowError as error:
        raise RuleError(f"Stripe Tax did not answer: {error} Nothing was done; try again.", code="no_tax") from error
    except RefusedError as error:
        raise RuleError(f"Stripe Tax cannot tell the tax: {error}", code="no_tax") from error
    parts = (told.get("line_items") or {}).get("data") or []
    wanted = sorted((item["reference"], item["amount"]) for item in asked["line_items"])
    tax = sum(int(part["amount_tax"]) for part in parts)
    if sorted((part["reference"], part["amount"]) for part in parts) != wanted or tax != told["tax_amount_exclusive"]:
        raise RuleError("Stripe Tax answered something else than was asked for. Nothing was done.", code="no_tax")
    return told


def _totals(invoice: Invoice, told: dict[str, Any], earlier: Invoice | None) -> list[TaxTotal]:
    """The tax of the invoice by code: what was asked for now, and what the earlier ones of the period charge."""
    before = {total.key: total for total in read_taxes(earlier.taxes)} if earlier else {}
    parts = {str(part["reference"]): part for part in told["line_items"]["data"]} if told else {}
    found = []
    for code, base in sorted(_bases(invoice).items()):
        key = f"{KEY}:{code}" if code else KEY
        known, part = before.pop(key, None), parts.get(code or KEY)
        if part is not None:
            found.append(_total(invoice, key, base, part, known))
        elif known is not None:
            found.append(known)
    return [*before.values(), *found]


def _total(invoice: Invoice, key: str, base: Decimal, part: dict[str, Any], known: TaxTotal | None) -> TaxTotal:
    rates = [each for each in part["tax_breakdown"] if each.get("tax_rate_details")]
    charged = [each["tax_rate_details"] for each in rates if each["amount"]]
    percent = add(Decimal(str(each["percentage_decimal"])) for each in charged)
    names = dict.fromkeys(str(each["display_name"]) for each in charged)
    reverse = any(each.get("taxability_reason") == "reverse_charge" for each in part["tax_breakdown"])
    name, category, note = TREATMENTS["reverse_charge"] if reverse else (" + ".join(names) or "No tax", "O", "")
    amount = from_minor(int(part["amount_tax"]), str(invoice.total.currency))
    return TaxTotal(
        key,
        name,
        "S" if charged else category,
        percent,
        base,
        add([amount, known.amount if known else ZERO]),
        invoice.paid_by.country,
        note=note,
    )


def _write(invoice: Invoice, totals: list[TaxTotal]) -> None:
    """The lines of tax before what was invoiced already, the key at each line, and the sums."""
    old = invoice.tax
    invoice.lines.filter(kind="tax").delete()
    codes = _codes(invoice)
    lines = list(invoice.lines.order_by("position"))
    last = [line for line in lines if line.kind == "already_invoiced"]
    taxed = [line for line in lines if line.kind != "already_invoiced"]
    for line in taxed:
        line.tax_key = f"{KEY}:{codes[line.product]}" if codes.get(line.product) else KEY
        line.tax_key = "" if line.unit else line.tax_key
    InvoiceLine.objects.bulk_update(taxed, ["tax_key"])
    charged = [total for total in totals if total.amount]
    at = max((line.position for line in taxed), default=0)
    # From the end, as no two may stand in one place.
    for number, line in sorted(enumerate(last, start=1), reverse=True):
        InvoiceLine.objects.filter(pk=line.pk).update(position=at + len(charged) + number)
    made = [_line(invoice, total, at + number) for number, total in enumerate(charged, start=1)]
    InvoiceLine.objects.bulk_create(made)
    invoice.tax = add(total.amount for total in totals)
    invoice.taxes = written_taxes(totals)
    invoice.total = type(invoice.total)(add([subtract(invoice.total.amount, old), invoice.tax]), invoice.total.currency)
    invoice.save(update_fields=["tax", "taxes", "total"])


def _line(invoice: Invoice, total: TaxTotal, position: int) -> InvoiceLine:
    name = f"{total.name} {plain(total.percent)}%"
    return InvoiceLine(
        invoice=invoice,
        position=position,
        kind="tax",
        product="",
        name=name,
        starting_at=invoice.starting_at,
        ending_before=invoice.ending_before,
        quantity=total.base,
        billed_quantity=total.base,
        unit_amount=divide(total.percent, HUNDRED),
        amount=total.amount,
        amount_exact=total.amount,
        source=f"{name}, by Stripe Tax",
        tax_key=total.key,
    )
