"""The examples of the API's documentation: one story, from a price list to a preview, that really works in this order.

It begins with a meter `api-calls` that counts events of the type `api.call` and splits them by `model`.
"""

from typing import Any

PRODUCT: dict[str, Any] = {
    "key": "calls",
    "name": "API calls",
    "kind": "usage",
    "meter": "api-calls",
    "pricing_keys": ["model"],
    "conversion": {"divide_by": "1000"},
    "tags": ["api"],
}
PRODUCT_SHOWN: dict[str, Any] = {
    **PRODUCT,
    "presentation_keys": [],
    "conversion": {"multiply_by": "1", "divide_by": "1000"},
    "quantity_rounding": None,
    "of": {},
    "tax_category": "",
}
SEAT: dict[str, Any] = {"key": "seat", "name": "Seat", "kind": "subscription"}
RATE: dict[str, Any] = {
    "product": "calls",
    "where": {"model": "large"},
    "price": {"model": "per_unit", "unit_amount": "4"},
}
CARD: dict[str, Any] = {
    "key": "standard",
    "name": "Standard",
    "currency": "USD",
    "rates": [RATE, {"product": "seat", "price": {"model": "per_unit", "unit_amount": "20"}}],
}
UNDATED: dict[str, Any] = {"starting_at": None, "ending_before": None, "unit": "", "commit_price": None}
RATES_SHOWN = [
    {**RATE, **UNDATED},
    {"product": "seat", "where": {}, "price": {"model": "per_unit", "unit_amount": "20"}, **UNDATED},
]
CARD_SHOWN: dict[str, Any] = {**CARD, "pricing_units": [], "rates": RATES_SHOWN}
CARD_LISTED: dict[str, Any] = {name: value for name, value in CARD_SHOWN.items() if name != "rates"}
NEW_RATE: dict[str, Any] = {
    "product": "calls",
    "where": {"model": "small"},
    "starting_at": "2026-01-01",
    "price": {"model": "per_unit", "unit_amount": "0.5"},
}
NEW_RATE_SHOWN: dict[str, Any] = {**UNDATED, **NEW_RATE, "starting_at": "2026-01-01T00:00:00+00:00"}

CUSTOMER: dict[str, Any] = {
    "key": "acme",
    "name": "Acme",
    "timezone": "Europe/Berlin",
    "email": "ap@acme.test",
    "aliases": ["acme-eu"],
    "tax": {"rate": "0.19", "id": "DE123456789"},
}
CUSTOMER_SHOWN: dict[str, Any] = {
    **CUSTOMER,
    "address": "",
    "country": "",
    "region": "",
    "locale": "",
    "tax": {"rate": "0.19", "id": "DE123456789", "treatment": "", "note": ""},
}

CONTRACT: dict[str, Any] = {
    "key": "acme-2026",
    "customer": "acme",
    "rate_card": "standard",
    "starting_at": "2026-01-01",
    "commits": [{"key": "y1", "access": [{"amount": "1000"}], "invoices": [{"amount": "800", "at": "2026-01-01"}]}],
    "subscriptions": [{"key": "seats", "product": "seat", "quantity": "3", "billed": "arrears"}],
    "entitlements": [
        {"feature": "sso", "kind": "boolean"},
        {"feature": "api", "kind": "metered", "meter": "api-calls", "limit": "100000", "reset": "month"},
    ],
}
CONTRACT_SHOWN: dict[str, Any] = {
    "key": "acme-2026",
    "name": "",
    "customer": "acme",
    "rate_card": "standard",
    "starting_at": "2025-12-31T23:00:00+00:00",
    "ending_before": None,
    "timezone": "Europe/Berlin",
    "billing": {"every": "month", "anchor": "calendar"},
    "net_days": 30,
    "purchase_order": "",
    "shadow": False,
    "commits": [
        {
            "key": "y1",
            "access": [{"amount": "1000"}],
            "invoices": [{"amount": "800", "at": "2025-12-31T23:00:00+00:00"}],
        }
    ],
    "subscriptions": [{"key": "seats", "product": "seat", "quantity": "3", "billed": "arrears"}],
    "entitlements": [
        {"kind": "boolean", "feature": "sso"},
        {"kind": "metered", "feature": "api", "meter": "api-calls", "limit": "100000"},
    ],
    "currency": "USD",
    "template": None,
    "renews": None,
    "status": "running",
}
AMENDMENT: dict[str, Any] = {
    "id": 12,
    "kind": "amend",
    "status": "applied",
    "effective_at": "2027-02-10T09:00:00+00:00",
    "beyond": [],
    "reason": "",
}
QUANTITY: dict[str, Any] = {"quantity": "5", "at": "2027-02-10T09:00:00Z", "seats": ["ada@acme.test", "bob@acme.test"]}
QUANTITY_SHOWN: dict[str, Any] = {
    "amendment": AMENDMENT,
    "contract": {
        **CONTRACT_SHOWN,
        "subscriptions": [
            {
                **CONTRACT_SHOWN["subscriptions"][0],
                "changes": [{"at": "2027-02-10T09:00:00+00:00", "quantity": "5"}],
                "seats": ["ada@acme.test", "bob@acme.test"],
            }
        ],
    },
}
GRANT: dict[str, Any] = {
    "key": "sorry",
    "name": "Goodwill",
    "amount": "50",
    "starting_at": "2027-02-01",
    "ending_before": "2027-05-01",
    "reason": "Two hours without service.",
}
SHARED_GRANT: dict[str, Any] = {"key": "sorry-again", "amount": "25", "starting_at": "2027-02-01"}
SHARED_GRANT_SHOWN: dict[str, Any] = {
    "customer": "acme",
    "credit": {
        "key": "sorry-again",
        "access": [{"amount": "25", "starting_at": "2027-01-31T23:00:00+00:00"}],
        "currency": "USD",
    },
}
GRANT_BY_CUSTOMER: dict[str, Any] = {"key": "sorry-third", "amount": "25", "contract": "acme-2026"}
GRANT_SHOWN: dict[str, Any] = {
    "amendment": {**AMENDMENT, "effective_at": "2027-01-31T23:00:00+00:00", "reason": "Two hours without service."},
    "contract": {
        **CONTRACT_SHOWN,
        "credits": [
            {
                "key": "sorry",
                "name": "Goodwill",
                "access": [
                    {
                        "amount": "50",
                        "starting_at": "2027-01-31T23:00:00+00:00",
                        "ending_before": "2027-04-30T22:00:00+00:00",
                    }
                ],
            }
        ],
    },
}
AMEND: dict[str, Any] = {
    "at": "2027-03-01",
    "changes": {"add": {"discounts": [{"percent": "10", "scope": {"tags": ["api"]}}]}},
    "reason": "Second year.",
}
AMENDED: dict[str, Any] = {
    "amendment": {**AMENDMENT, "effective_at": "2027-02-28T23:00:00+00:00", "reason": "Second year."},
    "contract": {
        **CONTRACT_SHOWN,
        "discounts": [{"percent": "10", "scope": {"tags": ["api"]}, "starting_at": "2027-02-28T23:00:00+00:00"}],
    },
}
END: dict[str, Any] = {"at": "2028-01-01", "reason": "They merge with another company."}
ENDED: dict[str, Any] = {
    "amendment": {**AMENDMENT, "kind": "end", "effective_at": "2027-12-31T23:00:00+00:00", "reason": END["reason"]},
    "contract": {**CONTRACT_SHOWN, "ending_before": "2027-12-31T23:00:00+00:00"},
}
RENEW: dict[str, Any] = {"key": "acme-2028", "term": "P1Y"}
RENEWED: dict[str, Any] = {
    **CONTRACT_SHOWN,
    "key": "acme-2028",
    "starting_at": "2027-12-31T23:00:00+00:00",
    "ending_before": "2028-12-31T23:00:00+00:00",
    "renews": "acme-2026",
    "status": "upcoming",
}
SIGN_UP: dict[str, Any] = {
    "template": "starter",
    "key": "beta-starter",
    "customer": "beta",
    "starting_at": "2026-02-10",
}
SIGNED_UP: dict[str, Any] = {
    **CONTRACT_SHOWN,
    "key": "beta-starter",
    "customer": "beta",
    "starting_at": "2026-02-10T00:00:00+00:00",
    "timezone": "UTC",
    "template": "starter",
}
TEMPLATE: dict[str, Any] = {
    "key": "starter",
    "name": "Starter",
    "rate_card": "standard",
    "currency": "USD",
    "document": {"credits": [{"key": "trial", "access": [{"amount": "10", "ending_before": "P14D"}]}]},
}

PERIOD = {"starting_at": "2026-01-31T23:00:00+00:00", "ending_before": "2026-02-28T23:00:00+00:00"}
LINE: dict[str, Any] = {
    "product": "calls",
    "kind": "usage",
    "name": "API calls",
    "group": {"model": "large"},
    **PERIOD,
    "quantity": "12000",
    "billed_quantity": "12",
    "unit_amount": "4.00",
    "amount": "48.00",
    "amount_exact": "48.00",
    "balance": "y1",
    "tiers": [{"quantity": "12", "unit_amount": "4.00", "flat_amount": "0.00", "amount": "48.00"}],
    "source": "rate card standard",
    "unit": "USD",
    "events": 12000,
}
TOTALS: dict[str, Any] = {
    "customer": "acme",
    "payer": "acme",
    "contract": "acme-2026",
    "kind": "usage",
    "status": "draft",
    "shadow": False,
    "currency": "USD",
    "period": PERIOD,
    "issue_at": "2026-03-01T23:00:00+00:00",
    "subtotal": "48.00",
    "discount": "0.00",
    "credits_applied": "48.00",
    "tax": "0.00",
    "taxes": [],
    "already_invoiced": "0.00",
    "total": "0.00",
    "unrated": [],
}
STATEMENT: dict[str, Any] = {**TOTALS, "lines": [LINE]}
INVOICE: dict[str, Any] = {
    **TOTALS,
    "id": 4711,
    "number": None,
    "net_days": 30,
    "attention": [],
    "created_at": "2026-03-01T00:05:00+00:00",
    "issued_at": None,
    "due_at": None,
    "paid_at": None,
}
INVOICE_SHOWN: dict[str, Any] = {
    **INVOICE,
    "lines": [
        {
            **LINE,
            "position": 1,
            "explanation": {
                "meter": "api-calls",
                "aggregation": "count",
                "rate": "rate:12",
                "price": {"model": "per_unit", "unit_amount": "4"},
                "prior_quantity": None,
                "share": None,
                "segment": "0",
                "subscription": "",
            },
        }
    ],
}
SPEND: dict[str, Any] = {
    "contract": "acme-2026",
    "currency": "USD",
    "period": PERIOD,
    "used": "48.00",
    "discount": "0.00",
    "covered": "48.00",
    "spent": "0.00",
    "left": [{"unit": "USD", "amount": "952.00"}],
    "statement": STATEMENT,
}
BALANCE: dict[str, Any] = {
    "customer": "acme",
    "contract": "acme-2026",
    "balance": "y1",
    "kind": "prepaid_commit",
    "unit": "USD",
    "remaining": "952.00",
    "ledger": [
        {"kind": "start", "at": "2025-12-31T23:00:00+00:00", "amount": "1000.00", "segment": "0"},
        {"kind": "draw", "at": "2026-02-12T10:00:00+00:00", "amount": "-48.00", "segment": "0"},
    ],
}
ENTITLEMENT: dict[str, Any] = {
    "feature": "api",
    "kind": "metered",
    "has_access": True,
    "reason": "",
    "value": None,
    "limit": "100000",
    "used": "12000",
    "remaining": "88000",
    "overage": "0",
    "soft": False,
    "resets_at": "2026-02-28T23:00:00+00:00",
}
SWITCH: dict[str, Any] = {
    **dict.fromkeys(ENTITLEMENT),
    "feature": "sso",
    "kind": "boolean",
    "has_access": True,
    "reason": "",
}
PREVIEW: dict[str, Any] = {
    "contract": {**CONTRACT, "discounts": [{"percent": "10"}]},
    "events": [
        {
            "id": "maybe-1",
            "customer": "acme",
            "type": "api.call",
            "time": "2026-02-12T10:00:00Z",
            "properties": {"model": "large"},
        }
    ],
    "at": "2026-02-15T00:00:00Z",
}
PREVIEW_SHOWN: dict[str, Any] = {
    "at": "2026-02-15T00:00:00+00:00",
    "statements": [STATEMENT],
    "counted": 1,
    "skipped": [],
}
