"""A deal in the words of the screen: labels, help, what to suggest and when a field applies. Pure.

A template has the same form; where a deal says when, it says how long after the start of the contract.
"""

from functools import cache
from typing import Any

from catalog.document_form import Word, Words, describe
from catalog.price_words import WORDS as PRICE_WORDS
from contracts.deal import Deal
from contracts.templates import TemplateTerms

EVERY = {"": "Billing period", "day": "Day", "week": "Week", "month": "Month", "quarter": "Quarter", "year": "Year"}
RATE = {"list": "List rate", "commit": "Commit rate"}
UNIT = Word("Pricing unit", "A unit of the rate card, such as credits. Empty: money.", suggest="units", only_known=True)
FROM = Word("From", "The first day. Empty: from the start of the contract.")
UNTIL = Word("Until before", "The first day that is no longer part of it. Empty: open.")
KEY = Word("Key", "Names it on the ledger and in overrides. It stays.")
NAME = Word("Name", "As it stands on the invoice. Empty: the key.")
SCOPE = Word("Applies to", "Nothing named: everything.")
OVERAGE = Word("Overage at rate ×", "Usage in its scope past the commit costs its rate times this.", placeholder="1")

WORDS: Words = {
    **PRICE_WORDS,
    "Deal": {
        "overrides": Word("Price overrides", "Other prices than the rate card's. One applies to a line, never two."),
        "discounts": Word("Discounts", "Percentages come first, one on top of the other, then amounts."),
        "commits": Word("Commits", "Money promised: prepaid is billed and then used up, postpaid is trued up."),
        "credits": Word("Credits", "Money given, never billed."),
        "recurring_commits": Word("Recurring commits", "A prepaid commit bought anew each period."),
        "recurring_credits": Word("Recurring credits", "A credit given anew each period."),
        "subscriptions": Word("Subscriptions", "Seats, or anything else counted, each period."),
        "charges": Word("Charges", "A fee at a day, once or again and again."),
        "minimums": Word("Minimums", "The least a billing period costs. What is missing is billed as one line."),
        "spend_threshold": Word("Spend threshold", "Unbilled usage is invoiced at once when it reaches an amount."),
        "balance_threshold": Word("Balance threshold", "The balance is filled up when it falls to an amount."),
        "entitlements": Word("Entitlements", "What the customer may use, and how much of it."),
        "usage_filter": Word(
            "Only this usage", "Group key and its values. For customers with several contracts. Nothing: all usage."
        ),
        "usage_customers": Word(
            "Usage of others too", "Keys of customers below this one whose usage this contract bills as well."
        ),
    },
    "TemplateTerms": {
        "term": Word("Lasts", "Empty: until somebody ends it."),
        "net_days": Word("Days to pay"),
        "timezone": Word("Time zone", "Empty: the customer's.", suggest="timezones"),
        "billing": Word("Billing", unsaid="every calendar month"),
    },
    "Billing": {
        "every": Word("Every", options=EVERY),
        "anchor": Word(
            "Periods are counted from",
            options={"calendar": "the calendar", "contract": "the day the contract starts"},
        ),
    },
    "Scope": {
        "": SCOPE,
        "products": Word("Products", suggest="products"),
        "tags": Word("Tags", "Products with any of these tags.", suggest="tags"),
        "where": Word("Group values", suggest="group_keys"),
    },
    "Dated": {"starting_at": FROM, "ending_before": UNTIL},
    "Access": {
        "": Word("Amount that can be used"),
        "amount": Word("Amount"),
        "starting_at": Word("Usable from"),
        "ending_before": Word("Until before"),
    },
    "Bill": {"": Word("Amount that is billed"), "amount": Word("Amount"), "at": Word("Billed on")},
    "Rollover": {
        "": Word("Rollover"),
        "fraction": Word("Fraction", "0.5 for half.", placeholder="0.5"),
        "of": Word("Of", options={"original": "the original amount, at most", "remaining": "what remains"}),
    },
    "Funds": {
        "key": KEY,
        "name": NAME,
        "priority": Word("Priority", "The lowest number is used first."),
        "scope": Word("Pays for", "Nothing named: everything."),
        "rollover": Word("Rollover", "What is left at the end moves into the next window."),
        "unit": UNIT,
    },
    "Commit": {
        "": Word("Commit"),
        "key": KEY,
        "name": NAME,
        "kind": Word(
            "Kind",
            "Prepaid is billed and then used up; postpaid is trued up at its end.",
            options={"prepaid": "Prepaid", "postpaid": "Postpaid"},
        ),
        "access": Word("Can be used", "Amounts, and when each can be used."),
        "invoices": Word("Is billed", "Nothing: complimentary. A postpaid commit has one at most: its true-up."),
        "rate": Word("Pays at", options=RATE),
        "rollover": Word(
            "Rollover", "What is left at the end moves into the next window.", shown_if={"kind": ("prepaid",)}
        ),
        "overage_multiplier": OVERAGE,
    },
    "Credit": {"": Word("Credit"), "access": Word("Can be used", "Amounts, and when each can be used.")},
    "RecurringCredit": {
        "": Word("Recurring credit"),
        "key": KEY,
        "name": NAME,
        "amount": Word("Amount each period"),
        "every": Word("Every", options=EVERY),
        "starting_at": FROM,
        "ending_before": UNTIL,
        "proration": Word(
            "Short periods",
            options={
                "first_and_last": "First and last are prorated",
                "first": "The first is prorated",
                "last": "The last is prorated",
                "none": "Given in full",
            },
        ),
        "periods": Word("Can be used for", "So many periods, its own counted."),
        "per_seat_of": Word(
            "Per seat of", "The amount is for each seat of a subscription.", suggest="subscriptions", only_known=True
        ),
    },
    "RecurringCommit": {
        "": Word("Recurring commit"),
        "key": KEY,
        "name": NAME,
        "amount": Word("Amount each period"),
        "invoice_amount": Word("Billed each period", "Empty: the amount."),
        "rate": Word("Pays at", options=RATE),
        "overage_multiplier": OVERAGE,
    },
    "OverrideTerms": {
        "scope": SCOPE,
        "target": Word("Instead of", options=RATE),
        "for_commits": Word(
            "Only while paid by", "Keys of commits, shared ones too.", suggest="commits", only_known=True
        ),
    },
    "Multiplier": {
        "": Word("Rate × a factor"),
        "multiplier": Word("Times the rate", "0.9 for 10% off.", placeholder="0.9"),
        "priority": Word("Priority", "Of several the lowest applies. Empty: the lowest factor."),
    },
    "TieredMultiplier": {
        "": Word("Rate × a factor by quantity"),
        "tiers": Word("Tiers", "By the quantity of the billing period; leave the last limit empty."),
        "priority": Word("Priority", "Of several the lowest applies. Empty: the lowest factor."),
    },
    "Overwrite": {
        "": Word("Another price"),
        "price": Word("Price"),
        "unit": UNIT,
        "scope": Word("Applies to", "Name the products, and a value for every pricing key they have."),
    },
    "Discount": {
        "": Word("Discount"),
        "percent": Word("Percent off", placeholder="15"),
        "amount": Word("or amount off each usage invoice"),
        "name": Word("Name", "As it stands on the invoice."),
        "scope": SCOPE,
    },
    "Subscription": {
        "": Word("Subscription"),
        "key": Word("Key", "Names it. It stays."),
        "product": Word("Product", suggest="subscription_products"),
        "quantity": Word("Quantity", "At the start."),
        "billed": Word("Billed", options={"advance": "In advance", "arrears": "In arrears"}),
        "every": Word("Every", options=EVERY),
        "prorated": Word("Prorated", "Parts of a period cost their part."),
        "increases": Word("More seats", options={"at_once": "Billed at once", "next_invoice": "On the next invoice"}),
        "decreases": Word("Fewer seats", options={"next_period": "From the next period", "at_once": "At once"}),
        "changes": Word("Changes of the quantity"),
        "seats": Word("Named seats", "Who has them, if that matters."),
    },
    "QuantityChange": {"": Word("Change"), "at": Word("From"), "quantity": Word("Quantity")},
    "Charge": {
        "": Word("Charge"),
        "key": Word("Key", "Names it. It stays."),
        "product": Word("Product", suggest="fixed_products"),
        "amount": Word("Amount"),
        "quantity": Word("Quantity"),
        "at": Word("On"),
        "every": Word("Again every", options={**EVERY, "": "never"}),
        "ending_before": UNTIL,
    },
    "Minimum": {
        "": Word("Minimum"),
        "amount": Word("Amount per billing period"),
        "scope": Word("Of", "Nothing named: of the whole usage invoice."),
    },
    "SpendThreshold": {
        "": Word("Spend threshold"),
        "amount": Word("Amount"),
        "gate": Word(
            "While one of its invoices is unpaid",
            "Stopped: no further one is issued; once it is refused or overdue, entitlements answer no.",
            options={"none": "go on", "payment": "stop until it is paid"},
        ),
    },
    "BalanceThreshold": {
        "": Word("Balance threshold"),
        "amount": Word("When it falls to"),
        "recharge_to": Word("Fill it up to"),
        "unit": UNIT,
        "paid_fraction": Word("Fraction that is charged", "1: all of it."),
        "excluded": Word(
            "Without", "Keys of commits and credits that do not count.", suggest="balances", only_known=True
        ),
        "usable": Word("It can be used", options={"at_once": "at once", "when_paid": "when its invoice is paid"}),
    },
    "EntitlementTerms": {
        "feature": Word("Feature", "Its key, as the product asks for it."),
        "requires_balance": Word("Needs a balance", "Only while something is left of an open commit or credit."),
        "balances": Word("Which balances", "Any of these. Nothing: any at all."),
    },
    "Switch": {"": Word("On or off"), "enabled": Word("On")},
    "Setting": {"": Word("A value"), "value": Word("Value")},
    "Allowance": {
        "": Word("Up to a limit"),
        "meter": Word("Meter", suggest="meters"),
        "limit": Word("Limit"),
        "soft": Word("Soft", "Past it the feature still works."),
        "reset": Word(
            "Counted anew each",
            options={each: each.capitalize() for each in ("minute", "hour", "day", "week", "month", "quarter", "year")}
            | {"never": "Never"},
        ),
        "where": Word("Only group values", suggest="group_keys"),
    },
}

# The tabs of the screen and the parts of the deal on each; the first holds the columns of the contract.
TABS: dict[str, tuple[str, ...]] = {
    "Terms": (),
    "Prices": ("overrides", "discounts"),
    "Commits and credits": ("commits", "credits", "recurring_commits", "recurring_credits"),
    "Seats": ("subscriptions", "charges"),
    "Limits": ("minimums", "spend_threshold", "balance_threshold", "entitlements", "usage_filter"),
}
# Where a deal names its own terms: a list to suggest from, and the parts whose keys it holds.
OWN_TERMS = {
    "commits": ["commits", "recurring_commits"],
    "balances": ["commits", "credits", "recurring_commits", "recurring_credits"],
    "subscriptions": ["subscriptions"],
}
AFTER_START = "after the start"


@cache
def deal_form() -> dict[str, Any]:
    """The description of the deal's form, with its tabs. A part that no tab names stands on the last one."""
    named = {part for parts in TABS.values() for part in parts}
    tabs = {tab: list(parts) for tab, parts in TABS.items()}
    tabs["Limits"] += [part for part in Deal.__struct_fields__ if part not in named]
    return {**describe(Deal, WORDS), "tabs": tabs, "own_terms": OWN_TERMS}


@cache
def template_form() -> dict[str, Any]:
    """The same for a template: its own terms on the first tab, and durations instead of instants."""
    form = describe(TemplateTerms, WORDS)
    own = [name for name in WORDS["TemplateTerms"] if name in TemplateTerms.__struct_fields__]
    types = {
        name: {**shape, "fields": [_as_duration(field) for field in shape["fields"]]} if "fields" in shape else shape
        for name, shape in form["types"].items()
    }
    return {**deal_form(), **form, "types": types, "tabs": {**deal_form()["tabs"], "Terms": own}}


def _as_duration(field: dict[str, Any]) -> dict[str, Any]:
    if field["kind"] == "instant":
        return {**field, "kind": "duration", "after": AFTER_START}
    return {**field, "kind": "duration", "after": ""} if field["name"] == "term" else field
