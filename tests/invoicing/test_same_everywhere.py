"""Random deals through the real path: what is previewed, drafted, issued and worked out a second time is the same."""

import json
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from contracts.models import Contract
from invoicing.as_known import statements_as_known
from invoicing.billing_file.applying import apply_entries
from invoicing.billing_file.events import send
from invoicing.billing_file.parsing import Entries, parse
from invoicing.close import close_periods
from invoicing.draft_rows import same_as_written
from invoicing.drafts import live_statement, with_terms
from invoicing.lifecycle import approve, issue
from invoicing.models import Invoice
from invoicing.preview import preview
from invoicing.statement import Statement
from tests.contracts.made_deals import Maker
from tests.contracts.second_engine import Statement as SecondStatement
from tests.contracts.worked import JANUARY
from tests.factories import count_all, day, user

SEEDS = range(7000, 7016)
MOMENT = timedelta(microseconds=1)


def as_file(seed: int, maker: Maker, deal: Any) -> dict[str, Any]:
    """The deal as a billing file; keys that stand beside those of other deals name its number."""
    meters = [
        {
            "key": product["meter"],
            "event_type": product["meter"],
            "aggregation": product["aggregation"],
            "group_by": ["model", "region"],
            **({} if product["aggregation"] == "count" else {"property": "n"}),
        }
        for product in deal.products
        if "meter" in product
    ]
    products = [{"kind": "percent_of_spend", **product} if "of" in product else product for product in deal.products]
    terms = {name: value for name, value in deal.terms.items() if value}
    contract = {"key": f"contract-{seed}", "customer": f"customer-{seed}", "rate_card": f"card-{seed}"}
    written = {
        "meters": meters,
        "products": [{name: value for name, value in each.items() if name != "aggregation"} for each in products],
        "rate_cards": [{"key": f"card-{seed}", "currency": maker.currency, "rates": deal.rates}],
        "customers": [{"key": f"customer-{seed}", "tax": {"rate": str(float(deal.tax))}}],
        "contracts": [{**contract, "starting_at": "2026-01-01", "ending_before": "2027-01-01", **terms}],
        "events": [
            {
                "id": f"{seed}-{number}",
                "customer": f"customer-{seed}",
                "type": product,
                "time": at.isoformat(),
                "properties": {"n": amount, **group},
            }
            for number, (product, at, amount, group) in enumerate(deal.uses)
        ],
    }
    text = json.dumps(written)
    for key in ["support", *(product["key"] for product in deal.products)]:
        text = text.replace(f'"{key}"', f'"{key}-{seed}"')
    for tag in maker.tags:
        text = text.replace(f'"{tag}"', f'"{tag}-{seed}"')
    found: dict[str, Any] = json.loads(text)
    return found


def in_order(seed: int) -> tuple[Maker, Any]:
    """A deal that a file can say: no scope names a tag that no product has."""
    maker = Maker(seed)
    deal = maker.deal()
    deal.products[0]["tags"] = maker.tags
    return maker, deal


def read(written: list[dict[str, Any]]) -> Entries:
    return parse([("", each) for each in written])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("real_commits")
def test_preview_draft_and_invoice_are_the_statement_of_a_second_engine() -> None:
    deals = {seed: in_order(seed) for seed in SEEDS}
    entries = read([as_file(seed, maker, deal) for seed, (maker, deal) in deals.items()])
    apply_entries(entries, day(1))
    send(entries, Path(), day(1, month=2))
    count_all()
    previewed: dict[str, Statement] = {}
    for contract in Contract.objects.select_related("customer", "rate_card"):
        coming = preview(contract, JANUARY.ending_before - MOMENT).coming
        (statement,) = [each.statement for each in coming if each.statement.kind == "usage"]
        assert statement == live_statement(contract, JANUARY.ending_before - MOMENT)
        previewed[contract.key] = statement
    close_periods(day(3, month=2))
    finance = user("Finance")
    for seed, (_, deal) in deals.items():
        key = f"contract-{seed}"
        invoice = Invoice.objects.get(contract__key=key, kind="usage", starting_at=JANUARY.starting_at)
        assert same_as_written(invoice, previewed[key])
        issued = issue(approve(invoice.pk, finance).pk, finance)
        assert same_as_written(issued, previewed[key])
        assert issued.approved_at
        assert issued.period_id
        (known,) = statements_as_known([with_terms(issued.period_id)], issued.approved_at)
        assert (known.lines, known.total) == (previewed[key].lines, previewed[key].total)
        assert (seed, Fraction(issued.total.amount)) == (seed, SecondStatement(deal).result().total)
