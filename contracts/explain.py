"""Working out a line again from what it says about itself. Pure."""

from decimal import ROUND_HALF_UP, Decimal

from catalog.money import EXACT, KNOWN_UNIT, ONE, multiply
from catalog.pricing import Events, charge
from contracts.lines import Line, rounded


def recomputed(line: Line, currency: str, events: Events | None = None, prior: Events | None = None) -> Decimal:
    """The amount of a priced line: its price for its quantity after the prior one, for its share of the charge.

    Prices that look at each event need the events again, read from the meter. Raises ValueError for a line without a
    price.
    """
    if line.price is None:
        raise ValueError(f"a line of kind {line.kind} has no price to compute it from")
    now = Events(line.events) if events is None else events
    charged = charge(line.price, line.billed_quantity, line.prior_quantity, now, prior or Events())
    exact = multiply(charged.amount, ONE if line.share is None else line.share)
    return rounded(exact.quantize(KNOWN_UNIT, ROUND_HALF_UP, context=EXACT), currency, line.unit)
