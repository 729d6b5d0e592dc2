"""What is sold, and to whom: a catalog with every price model, and contracts of every kind, as one billing file."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Row = dict[str, Any]


def per_unit(amount: str, **more: Any) -> Row:
    return {"model": "per_unit", "unit_amount": amount, **more}


def rate(product: str, price: Row, **more: Any) -> Row:
    return {"product": product, "price": price, **more}


METERS = [
    {"key": "tokens", "event_type": "llm", "aggregation": "sum", "property": "tokens", "group_by": ["model", "region"]},
    {"key": "calls", "event_type": ["llm", "call"], "aggregation": "count"},
    {"key": "peak", "event_type": "load", "aggregation": "max", "property": "level"},
    {"key": "storage", "event_type": "disk", "aggregation": "time_weighted", "property": "change"},
    {"key": "people", "event_type": "login", "aggregation": "unique_count", "property": "person"},
    {"key": "paid", "event_type": "sale", "aggregation": "sum", "property": "amount"},
    {"key": "resold", "event_type": "resale", "aggregation": "sum", "property": "amount"},
    {"key": "load", "event_type": "load", "aggregation": "average", "property": "level"},
]
PRODUCTS = [
    {
        "key": "tokens",
        "name": "Tokens",
        "meter": "tokens",
        "pricing_keys": ["model"],
        "presentation_keys": ["region"],
        "conversion": {"divide_by": 1000},
        "tags": ["ai"],
    },
    {"key": "calls", "name": "Calls", "meter": "calls", "tax_category": "reduced"},
    {"key": "peak", "name": "Peak load", "meter": "peak"},
    {"key": "storage", "name": "Storage", "meter": "storage", "quantity_rounding": {"method": "half_up", "places": 3}},
    {"key": "people", "name": "People", "meter": "people"},
    {"key": "paid", "name": "Payments taken", "meter": "paid"},
    {"key": "share", "name": "Share of sales", "meter": "paid"},
    {"key": "resold", "name": "Resold", "meter": "resold"},
    {"key": "load", "name": "Mean load", "meter": "load"},
    {"key": "seat", "name": "Seats", "kind": "subscription"},
    {"key": "desk", "name": "Desks", "kind": "subscription"},
    {"key": "setup", "name": "Setting up", "kind": "fixed"},
    {"key": "support", "name": "Support", "kind": "percent_of_spend", "of": {"tags": ["ai"], "products": ["calls"]}},
]
TIERS = [{"up_to": "20", "unit_amount": "0.70", "flat_amount": "5"}, {"up_to": "60", "unit_amount": "0.5"}]
GRADUATED = {"model": "graduated", "tiers": [*TIERS, {"up_to": None, "unit_amount": "0.333"}]}
VOLUME = {"model": "volume", "tiers": [{"up_to": "50", "unit_amount": "2"}, {"up_to": None, "unit_amount": "1.25"}]}
PER_SALE = {"model": "percentage", "percent": "2.9", "fixed_amount": "0.30"}
SHARES = {
    "model": "graduated_percentage",
    "tiers": [{"up_to": "500", "percent": "5", "flat_amount": "1"}, {"up_to": None, "percent": "3.5"}],
}
PACKAGES = {"model": "package", "size": "10", "amount": "7", "free_units": "5"}
TOKENS = [
    rate(
        "tokens", per_unit("0.011"), where={"model": "small"}, ending_before="2026-06-01", commit_price=per_unit("0.01")
    ),
    rate(
        "tokens", per_unit("0.0105"), where={"model": "small"}, starting_at="2026-06-01", commit_price=per_unit("0.009")
    ),
    rate("tokens", per_unit("0.045"), where={"model": "large"}),
]
FEES = [rate("seat", per_unit("12")), rate("desk", per_unit("31"))]


def card(key: str, currency: str, *rates: Row, **more: Any) -> Row:
    return {"key": key, "currency": currency, "rates": [*TOKENS, *FEES, *rates], **more}


CARDS = [
    card("ai", "USD"),
    card("list", "USD", rate("calls", per_unit("0.25", free_units="3"))),
    card("supported", "USD", rate("calls", per_unit("0.4")), rate("support", {"model": "percentage", "percent": "10"})),
    card("tiers", "USD", rate("calls", GRADUATED), rate("storage", VOLUME), rate("peak", PACKAGES)),
    card(
        "sales",
        "USD",
        rate("paid", PER_SALE),
        rate("share", SHARES),
        rate("resold", {"model": "dynamic", "multiplier": "1.2"}),
        rate("people", {"model": "flat", "amount": "20"}),
        rate("load", per_unit("3", minimum="4", maximum="90")),
    ),
    card(
        "units",
        "USD",
        rate("calls", per_unit("2"), unit="credit"),
        rate("people", per_unit("5"), unit="credit"),
        pricing_units=[{"key": "credit", "rate": "0.10"}],
    ),
    card("euro", "EUR", rate("calls", per_unit("0.19")), rate("storage", per_unit("0.75"))),
    card("yen", "JPY", rate("calls", per_unit("27.5"))),
    card("dinar", "KWD", rate("calls", per_unit("0.07")), rate("people", per_unit("1.25"))),
]


# Included in prices, and changed in July; two rates by what is sold.
TAX_RATES = [
    {"key": "at-20", "name": "USt", "percent": "20", "country": "AT", "inclusive": True, "ending_before": "2026-07-01"},
    {"key": "at-21", "name": "USt", "percent": "21", "country": "AT", "inclusive": True, "starting_at": "2026-07-01"},
    {"key": "at-10", "name": "USt", "percent": "10", "country": "AT", "inclusive": True, "product_category": "reduced"},
    {"key": "fr-20", "name": "TVA", "percent": "20", "country": "FR"},
    {"key": "fr-55", "name": "TVA", "percent": "5.5", "country": "FR", "product_category": "reduced"},
]
TEMPLATES = [
    {
        "key": "starter",
        "rate_card": "list",
        "term": "P1Y",
        "credits": [{"key": "welcome", "access": [{"amount": "5", "starting_at": "P0D", "ending_before": "P2M"}]}],
        "subscriptions": [{"key": "seats", "product": "seat", "quantity": "1", "billed": "advance", "every": "month"}],
        "spend_threshold": {"amount": "25"},
    }
]


@dataclass(frozen=True)
class Kind:
    """A customer with its contracts. `uses` says which events it sends; `{}` in keys becomes the customer's. `signs`:
    the file has no contract of it. `loses`: some of its events come under a key nobody knows yet.
    """

    name: str
    card: str = "list"
    uses: tuple[str, ...] = ("llm",)
    contract: Row = field(default_factory=dict)
    customer: Row = field(default_factory=dict)
    more: Callable[[str], tuple[list[Row], list[Row]]] | None = None
    signs: bool = False
    loses: bool = False


def windows(amount: str, *bounds: str) -> list[Row]:
    return [{"amount": amount, "starting_at": start, "ending_before": end} for start, end in pairwise(bounds)]


YEAR = ("2026-01-01", "2027-01-01")
QUARTERS = ("2026-01-01", "2026-04-01", "2026-07-01", "2026-10-01", "2027-01-01")
GERMAN = {"tax": {"rate": "0.19", "id": "DE123456789"}, "timezone": "Europe/Berlin"}


def children(key: str) -> tuple[list[Row], list[Row]]:
    """Two below: one is billed for itself and pays itself, one is paid by the head."""
    customers = [{"key": f"{key}-a", "parent": key, "payer": "self"}, {"key": f"{key}-b", "parent": key}]
    contracts = [
        {"key": f"{each['key']}-2026", "customer": each["key"], "rate_card": "list", "starting_at": "2026-01-01"}
        for each in customers
    ]
    return customers, contracts


def all_below(key: str) -> tuple[list[Row], list[Row]]:
    """One below, whose usage the head's contract bills."""
    return [{"key": f"{key}-below", "parent": key}], []


def promised(key: str) -> tuple[list[Row], list[Row]]:
    """One below, with a contract that counts against the head's promise."""
    contract = {"key": f"{key}-a-2026", "customer": f"{key}-a", "rate_card": "list", "starting_at": "2026-01-01"}
    return [{"key": f"{key}-a", "parent": key}], [contract]


def shadow(key: str) -> tuple[list[Row], list[Row]]:
    proof = {"key": f"{key}-proof", "customer": key, "rate_card": "tiers", "starting_at": "2026-01-01", "shadow": True}
    return [], [proof]


KINDS = [
    Kind(
        "prepaid by quarters, rolls over",
        contract={
            "commits": [
                {
                    "key": "year",
                    "access": windows("60", *QUARTERS),
                    "invoices": [{"amount": "200", "at": "2026-01-01"}],
                    "rollover": {"fraction": "0.5"},
                    "rate": "commit",
                }
            ]
        },
    ),
    Kind(
        "tiers, a minimum",
        card="tiers",
        uses=("llm", "call", "disk", "load"),
        contract={"minimums": [{"amount": "40"}], "discounts": [{"percent": "10", "ending_before": "2026-05-01"}]},
    ),
    Kind("spend threshold, tax", uses=("llm", "call"), customer=GERMAN, contract={"spend_threshold": {"amount": "15"}}),
    Kind(
        "seats",
        contract={
            "subscriptions": [
                {
                    "key": "seats",
                    "product": "seat",
                    "quantity": "5",
                    "billed": "advance",
                    "every": "month",
                    "changes": [{"at": "2026-02-10", "quantity": "8"}, {"at": "2026-05-20", "quantity": "6"}],
                },
                {"key": "desks", "product": "desk", "quantity": "2", "billed": "arrears", "every": "quarter"},
            ]
        },
    ),
    Kind(
        "percentages",
        card="sales",
        uses=("sale", "resale", "login", "load"),
        contract={"minimums": [{"amount": "12", "scope": {"products": ["paid"]}}]},
    ),
    Kind(
        "family with a pool",
        customer={
            "commits": [
                {
                    "key": "pool",
                    "access": windows("90", *YEAR),
                    "invoices": [{"amount": "80", "at": "2026-01-01"}],
                    "billed_by": "{}-2026",
                }
            ]
        },
        more=children,
    ),
    Kind(
        "postpaid, trued up",
        contract={
            "commits": [{"key": "promise", "kind": "postpaid", "access": windows("300", "2026-01-01", "2026-04-01")}],
            "discounts": [{"amount": "2"}],
        },
    ),
    Kind(
        "custom units",
        card="units",
        uses=("call", "login"),
        contract={"recurring_credits": [{"key": "free", "amount": "1", "every": "month"}]},
    ),
    Kind(
        "recurring packs",
        contract={
            "recurring_commits": [
                {
                    "key": "pack",
                    "amount": "10",
                    "invoice_amount": "8",
                    "every": "month",
                    "rollover": {"fraction": "0.5"},
                }
            ]
        },
    ),
    Kind(
        "support, tiered multiplier",
        card="supported",
        uses=("llm", "call"),
        contract={
            "overrides": [
                {
                    "kind": "tiered",
                    "scope": {"products": ["calls"]},
                    "tiers": [{"up_to": "30", "multiplier": "0.9"}, {"up_to": None, "multiplier": "0.75"}],
                }
            ]
        },
    ),
    Kind(
        "euro, local time",
        card="euro",
        uses=("llm", "call", "disk"),
        customer=GERMAN,
        contract={
            "timezone": "Asia/Kolkata",
            "net_days": 14,
            "billing": {"every": "month", "anchor": "contract"},
            "starting_at": "2026-01-17",
            "charges": [{"key": "setup", "product": "setup", "amount": "99.90", "at": "2026-01-20"}],
        },
    ),
    Kind("yen", card="yen", uses=("call",), customer={"tax": {"rate": "0.1"}, "timezone": "Asia/Tokyo"}),
    Kind("dinar", card="dinar", uses=("call", "login")),
    Kind("amended in March", uses=("llm", "call")),
    Kind(
        "renewed in May",
        contract={
            "ending_before": "2026-05-01",
            "commits": [
                {
                    "key": "y",
                    "access": windows("80", "2026-01-01", "2026-05-01"),
                    "invoices": [{"amount": "60", "at": "2026-01-01"}],
                    "rollover": {"fraction": "0.5", "of": "remaining"},
                }
            ],
        },
    ),
    Kind(
        "ends in April",
        contract={
            "ending_before": "2027-01-01",
            "commits": [
                {"key": "y", "access": windows("500", *YEAR), "invoices": [{"amount": "450", "at": "2026-01-01"}]}
            ],
        },
    ),
    Kind("by the quarter", uses=("llm", "call"), contract={"billing": {"every": "quarter", "anchor": "calendar"}}),
    Kind("by the week", uses=("call",), contract={"billing": {"every": "week", "anchor": "calendar"}}),
    Kind(
        "overwrite and overage",
        contract={
            "commits": [{"key": "m", "access": windows("20", "2026-01-01", "2026-07-01"), "overage_multiplier": "1.5"}],
            "overrides": [
                {
                    "kind": "overwrite",
                    "price": per_unit("0.04"),
                    "scope": {"products": ["tokens"], "where": {"model": "large"}},
                    "starting_at": "2026-02-15",
                }
            ],
        },
    ),
    Kind("bills those below", contract={"usage_customers": ["{}-below"]}, more=all_below),
    Kind("a shadow beside", uses=("llm", "call"), more=shadow),
    Kind(
        "trial credit, filter",
        card="ai",
        contract={
            "credits": [{"key": "trial", "access": windows("9", "2026-01-01", "2026-03-01")}],
            "usage_filter": {"region": ["eu"]},
        },
    ),
    Kind(
        "keeps its balance up",
        contract={
            "commits": [
                {
                    "key": "first",
                    "access": [{"amount": "30", "starting_at": "2026-01-01"}],
                    "invoices": [{"amount": "30", "at": "2026-01-01"}],
                }
            ],
            "balance_threshold": {"amount": "8", "recharge_to": "30"},
        },
    ),
    Kind(
        "keeps its balance up when paid",
        uses=("llm", "call"),
        contract={
            "commits": [
                {
                    "key": "first",
                    "access": [{"amount": "30", "starting_at": "2026-01-01"}],
                    "invoices": [{"amount": "30", "at": "2026-01-01"}],
                }
            ],
            "balance_threshold": {"amount": "8", "recharge_to": "30", "paid_fraction": "0.9", "usable": "when_paid"},
        },
    ),
    Kind(
        "prices include tax",
        uses=("llm", "call"),
        customer={"country": "AT"},
        contract={
            "commits": [
                {"key": "y", "access": windows("70", *QUARTERS), "invoices": [{"amount": "110", "at": "2026-01-01"}]}
            ],
            "subscriptions": [{"key": "seats", "product": "seat", "quantity": "2", "billed": "advance"}],
        },
    ),
    Kind(
        "two rates of tax",
        uses=("llm", "call"),
        customer={"country": "FR"},
        contract={"spend_threshold": {"amount": "30"}, "discounts": [{"percent": "5"}]},
    ),
    Kind(
        "owes the tax itself",
        uses=("llm", "call"),
        customer={"country": "IT", "tax": {"treatment": "reverse_charge", "id": "IT00743110157"}},
    ),
    Kind("signs up in March", uses=("llm", "call"), signs=True),
    Kind(
        "seats with names",
        contract={
            "subscriptions": [
                {
                    "key": "seats",
                    "product": "seat",
                    "quantity": "2",
                    "seats": ["ann", "bob"],
                    "billed": "advance",
                    "every": "month",
                }
            ],
            "recurring_credits": [{"key": "each", "amount": "1.5", "every": "month", "per_seat_of": "seats"}],
            "charges": [
                {"key": "care", "product": "setup", "amount": "3", "at": "2026-02-01", "every": "month"},
            ],
        },
    ),
    Kind(
        "by the year",
        uses=("llm", "disk"),
        card="euro",
        contract={"billing": {"every": "year", "anchor": "2026-06-15"}},
    ),
    Kind(
        "ranks of multipliers",
        uses=("llm", "call"),
        contract={
            "commits": [
                {"key": "y", "access": windows("40", *QUARTERS), "invoices": [{"amount": "100", "at": "2026-01-01"}]},
                {"key": "z", "access": windows("9", *QUARTERS), "priority": 5, "scope": {"products": ["calls"]}},
            ],
            "overrides": [
                {"kind": "multiplier", "multiplier": "0.95", "priority": 2},
                {"kind": "multiplier", "multiplier": "0.9", "priority": 1, "ending_before": "2026-09-01"},
                {"kind": "multiplier", "multiplier": "0.5", "for_commits": ["z"], "scope": {"products": ["calls"]}},
            ],
        },
    ),
    Kind("found later", uses=("llm", "call"), loses=True),
    Kind(
        "promised together",
        customer={
            "commits": [
                {
                    "key": "together",
                    "kind": "postpaid",
                    "access": windows("120", "2026-01-01", "2026-07-01"),
                    "billed_by": "{}-2026",
                }
            ],
            "credits": [{"key": "pot", "access": windows("12", "2026-02-01", "2026-06-01")}],
        },
        more=promised,
    ),
    Kind("granted a credit", uses=("llm", "call", "load"), card="tiers"),
    Kind("plain"),
]


def billing_file(customers: int) -> Row:
    """`customers` of them, of each kind in turn; those below them are not counted."""
    rows: list[Row] = []
    contracts: list[Row] = []
    for number in range(customers):
        kind, key = KINDS[number % len(KINDS)], key_of(number)
        customer = {
            "key": key,
            "name": f"{kind.name.capitalize()} {number + 1}",
            "email": f"pay@{key}.test",
            **kind.customer,
        }
        contract = {
            "key": f"{key}-2026",
            "customer": key,
            "rate_card": kind.card,
            "starting_at": "2026-01-01",
            **kind.contract,
        }
        below, others = kind.more(key) if kind.more else ([], [])
        rows += [_filled(customer, key), *below]
        contracts += [*([] if kind.signs else [_filled(contract, key)]), *others]
    return {
        "meters": METERS,
        "products": PRODUCTS,
        "rate_cards": CARDS,
        "tax_rates": TAX_RATES,
        "templates": TEMPLATES,
        "customers": rows,
        "contracts": contracts,
    }


def key_of(number: int) -> str:
    return f"c{number + 1:02}"


def senders(number: int) -> list[str]:
    """The customer keys a customer's events come under."""
    kind, key = KINDS[number % len(KINDS)], key_of(number)
    below, _ = kind.more(key) if kind.more else ([], [])
    return [key, *(each["key"] for each in below), *([lost(key)] if kind.loses else [])]


def lost(key: str) -> str:
    """The key that nobody knows to be the customer's."""
    return f"{key}-lost"


def _filled(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, key) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, key) for each in value]
    return value.replace("{}", key) if isinstance(value, str) else value
