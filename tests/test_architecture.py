"""The floors of the house, checked on every run.

Imports and foreign keys only point down. Arithmetic knows neither Django nor a clock. One file talks to Stripe.
Nothing grows past a readable size.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import AbstractUser

ROOT = Path(__file__).resolve().parent.parent
KERNEL = "billing_project"
FLOORS = [KERNEL, "meters", "catalog", "contracts", "invoicing"]
# What every floor may use of the kernel; the rest of it is the roof: settings, URLs, the demo.
FOUNDATION = {
    "admin",
    "api",
    "api_csv",
    "decimals",
    "errors",
    "fields",
    "forms",
    "history",
    "garbage",
    "idempotency",
    "locks",
    "models",
    "notices",
    "prepared",
    "progress",
    "roles",
    "rows",
    "scratch",
    "side_by_side",
    "unreachable",
}
ROOF = {"asgi", "children", "demo", "job_admin", "jobs", "management", "settings", "tasks", "urls", "wsgi"}
MUST_BE_PURE = {
    "billing_project/decimals.py",
    "catalog/bands.py",
    "catalog/document_form.py",
    "catalog/documents.py",
    "catalog/money.py",
    "catalog/price_format.py",
    "catalog/price_words.py",
    "catalog/prices.py",
    "catalog/pricing.py",
    "contracts/amending.py",
    "contracts/balances.py",
    "contracts/bounds.py",
    "contracts/deal.py",
    "contracts/deal_changes.py",
    "contracts/deal_dates.py",
    "contracts/deal_format.py",
    "contracts/deal_words.py",
    "contracts/discounts.py",
    "contracts/drawdown.py",
    "contracts/durations.py",
    "contracts/entitlements.py",
    "contracts/explain.py",
    "contracts/guardrails.py",
    "contracts/lines.py",
    "contracts/minimums.py",
    "contracts/period_text.py",
    "contracts/products.py",
    "contracts/proration.py",
    "contracts/rating.py",
    "contracts/renewing.py",
    "contracts/renewals.py",
    "contracts/scheduled.py",
    "contracts/scopes.py",
    "contracts/shared_terms.py",
    "contracts/spend_share.py",
    "contracts/subscription_lines.py",
    "contracts/subscriptions.py",
    "contracts/templates.py",
    "contracts/terms.py",
    "contracts/thresholds.py",
    "contracts/timeline.py",
    "contracts/units.py",
    "invoicing/admin/sparkline.py",
    "invoicing/crossings.py",
    "invoicing/admin/waterfall_chart.py",
    "invoicing/exports/columns.py",
    "invoicing/focus.py",
    "invoicing/revenue.py",
    "invoicing/statement.py",
    "invoicing/stripe_items.py",
    "invoicing/stripe_ranks.py",
    "invoicing/document_text.py",
    "invoicing/taxation.py",
    "invoicing/ubl.py",
    "invoicing/usage_shares.py",
    "invoicing/totals.py",
    "invoicing/webhook_signing.py",
    "invoicing/waterfall.py",
    "meters/periods.py",
}
IMPURE_STDLIB = {"asyncio", "io", "os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"}
PURE_LIBRARIES = {"moneyed", "msgspec"}  # the list of currencies; a decoder
CLOCKS = {"now", "today", "utcnow"}
STRIPE_DOOR = "invoicing/stripe_sync.py"
STRIPE_MIRROR = {"invoicing/stripe_mirror.py", "invoicing/admin/stripe_mirror.py"}
EXACT_FLOORS = {"catalog", "contracts", "invoicing"}
MAX_LINES = 400

SOURCES = [
    str(path.relative_to(ROOT))
    for floor in FLOORS
    for path in sorted((ROOT / floor).rglob("*.py"))
    if "migrations" not in path.parts
]


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def imported(path: str) -> Iterator[str]:
    """Every module named in an import, down to the name: `from a import b` gives `a.b`."""
    package = Path(path).with_suffix("").parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_roof(path: str) -> bool:
    return path.startswith(KERNEL) and Path(path).parts[1].removesuffix(".py") in ROOF


def is_pure(path: str) -> bool:
    text = ast.get_docstring(tree(path)) or ""
    return path in MUST_BE_PURE or any(word in text for word in (" Pure.", "\nPure.", "Pure:"))


PURE = [path for path in SOURCES if is_pure(path)]


@pytest.mark.parametrize("path", [path for path in SOURCES if not is_roof(path)])
def test_imports_only_point_down(path: str) -> None:
    floor = FLOORS.index(Path(path).parts[0])
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top not in FLOORS:
            continue
        assert FLOORS.index(top) <= floor, f"{path} imports upstairs: {name}"
        if top == KERNEL and floor:
            assert rest.split(".")[0] in FOUNDATION, f"{path} imports {name}, which is no foundation"


def test_foreign_keys_only_point_down() -> None:
    for model in apps.get_models(include_auto_created=True):
        label = model._meta.app_label
        if label not in FLOORS:
            continue
        for field in model._meta.get_fields():
            target = field.related_model if field.is_relation and field.concrete else None
            if isinstance(target, type) and target._meta.app_label in FLOORS:
                assert FLOORS.index(target._meta.app_label) <= FLOORS.index(label), field


def test_people_are_the_only_thing_the_floors_know_of_other_apps() -> None:
    """A foreign key into dj-stripe or the admin's tables would tie a rule to somebody else's schema."""
    for model in apps.get_models():
        if model._meta.app_label in FLOORS and not hasattr(model, "pgh_tracked_model"):
            for field in model._meta.get_fields():
                target = field.related_model if field.is_relation and field.concrete else None
                if isinstance(target, type) and target._meta.app_label not in FLOORS:
                    assert issubclass(target, AbstractUser), field


def test_the_rules_of_money_are_pure() -> None:
    assert set(PURE) >= MUST_BE_PURE


@pytest.mark.parametrize("path", PURE)
def test_arithmetic_knows_no_framework(path: str) -> None:
    for name in imported(path):
        top = name.partition(".")[0]
        if top in FLOORS:
            module = name.rpartition(".")[0].replace(".", "/") + ".py"
            assert module in PURE, f"{path} imports {name}, which is not pure"
        else:
            known = (sys.stdlib_module_names - IMPURE_STDLIB) | PURE_LIBRARIES
            assert top in known, f"{path} imports {name}"


@pytest.mark.parametrize("path", PURE)
def test_arithmetic_reads_no_clock(path: str) -> None:
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    for call in calls:
        is_clock = isinstance(call.func, ast.Attribute) and call.func.attr in CLOCKS
        assert not is_clock, f"{path}:{call.lineno} reads a clock"


@pytest.mark.parametrize("path", [path for path in SOURCES if path in PURE or Path(path).parts[0] in EXACT_FLOORS])
def test_no_binary_float_is_made_near_money(path: str) -> None:
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"{path}:{node.lineno}"
        is_cast = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
        assert not is_cast, f"{path}: float()"


@pytest.mark.parametrize("path", SOURCES)
def test_one_door_to_stripe(path: str) -> None:
    """The copy in dj-stripe's tables may be written and shown; asking Stripe for something is for the door."""
    used = {name.partition(".")[0] for name in imported(path)}
    assert "stripe" not in used or path == STRIPE_DOOR
    assert "djstripe" not in used or path in STRIPE_MIRROR


@pytest.mark.parametrize("path", SOURCES)
def test_modules_stay_readable(path: str) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= MAX_LINES
