"""Random deals, worked out by `build_statement` and by a second engine that shares no code with it."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from msgspec.structs import replace

from catalog.documents import read
from catalog.pricing import Conversion
from contracts.deal import Scope
from contracts.products import ProductTerms
from contracts.terms import Rate
from invoicing.statement import Statement, StatementInputs, build_statement
from invoicing.taxation import Tax
from tests.contracts.made_deals import Maker
from tests.contracts.second_charges import Deal
from tests.contracts.second_engine import Statement as SecondStatement
from tests.contracts.worked import D, inputs, rate

Written = dict[str, Any]
DEALS, PER_TEST = 1000, 50


def product(written: Written) -> ProductTerms:
    conversion, rounding = written.get("conversion", {}), written.get("quantity_rounding", {})
    return ProductTerms(
        key=written["key"],
        name=written["key"],
        meter=written.get("meter", ""),
        aggregation=written.get("aggregation", ""),
        pricing_keys=tuple(written.get("pricing_keys", ())),
        presentation_keys=tuple(written.get("presentation_keys", ())),
        conversion=Conversion(
            divide_by=D(conversion.get("divide_by", 1)),
            rounding=rounding.get("method", ""),
            places=rounding.get("places", 0),
        ),
        kind="percent_of_spend" if "of" in written else "usage",
        tags=tuple(written.get("tags", ())),
        of=read(Scope, written.get("of", {})),
    )


def agreed(written: Written) -> Rate:
    terms = {name: value for name, value in written.items() if name not in ("product", "price")}
    for name in {"starting_at", "ending_before"} & terms.keys():
        terms[name] = datetime.fromisoformat(terms[name])
    return rate(written["product"], written["price"], **terms)


def worked_out(deal: Deal, currency: str) -> tuple[StatementInputs, Statement]:
    made = inputs(
        [agreed(each) for each in deal.rates],
        deal.terms,
        *deal.uses,
        products=[product(each) for each in deal.products],
        currency=currency,
        tax=Tax(Decimal(deal.tax.numerator) / deal.tax.denominator),
    )
    return made, build_statement(made)


@pytest.mark.parametrize("start", range(0, DEALS, PER_TEST))
def test_both_engines_come_to_the_same(start: int) -> None:
    for seed in range(start, start + PER_TEST):
        maker = Maker(seed)
        deal = maker.deal()
        made, statement = worked_out(deal, maker.currency)
        second = SecondStatement(deal).result()
        left = {(each.key, int(each.segment)): Fraction(each.amount or 0) for each in made.balances}
        for draw in statement.draws:
            left[draw.balance, int(draw.segment)] -= Fraction(draw.amount)
        assert (seed, Fraction(statement.total), left) == (seed, second.total, second.left)
        rows = list(made.usage)
        maker.random.shuffle(rows)
        assert build_statement(replace(made, usage=tuple(rows))) == statement
