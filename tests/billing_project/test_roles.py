"""What each role may do, as the migration leaves it."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest
from django.test import RequestFactory

from billing_project.navigation import sidebar
from billing_project.roles import FLOORS, ROLES, make_roles

pytestmark = pytest.mark.usefixtures("roles")


def rights(role: str) -> set[str]:
    found = Group.objects.get(name=role).permissions.select_related("content_type")
    return {f"{each.content_type.app_label}.{each.codename}" for each in found}


def member(role: str) -> User:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def request_of(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def test_sales_writes_contracts_and_looks_at_invoices() -> None:
    sales = rights("Sales ops")
    assert {"contracts.add_contract", "catalog.change_rate", "meters.add_meter", "invoicing.view_invoice"} <= sales
    assert not {right for right in sales if right.startswith("invoicing.") and ".view_" not in right}


def test_finance_decides_about_invoices_and_edits_nothing() -> None:
    finance = rights("Finance")
    verbs = {
        "billing_project.run_job",
        "contracts.approve_contract",
        "invoicing.approve_invoice",
        "invoicing.issue_invoice",
        "invoicing.void_invoice",
        "invoicing.record_payment",
        "invoicing.credit_invoice",
        "invoicing.add_line",
        "invoicing.close_month",
        "invoicing.decide_late_usage",
        "invoicing.retry_stripe",
        "invoicing.replay_delivery",
        *(f"invoicing.{each}_alertrule" for each in ("add", "change", "delete")),
        *(f"invoicing.{each}_webhookendpoint" for each in ("add", "change", "delete")),
        *(f"catalog.{each}_taxrate" for each in ("add", "change", "delete")),
        *(f"invoicing.{each}_autoapproval" for each in ("add", "change", "delete")),
        *(f"invoicing.{each}_stripecustomer" for each in ("add", "change")),
    }
    assert verbs <= finance
    assert {right for right in finance if ".view_" not in right} == verbs
    assert "contracts.view_contract" in finance


def test_the_deal_desk_sets_guardrails_and_approves_deals_and_sales_does_not() -> None:
    verbs = {
        "contracts.approve_contract",
        *(f"contracts.{each}_dealguardrails" for each in ("add", "change", "delete")),
    }
    assert {right for right in rights("Deal desk") if ".view_" not in right} == verbs
    assert not verbs & rights("Sales ops")
    assert "contracts.change_amendment" not in rights("Sales ops")


def test_the_auditor_sees_every_floor_and_changes_nothing() -> None:
    auditor = rights("Auditor")
    assert all(".view_" in right for right in auditor)
    for floor in FLOORS:
        for model in apps.get_app_config(floor).get_models():
            assert f"{floor}.view_{model._meta.model_name}" in auditor


def test_a_service_does_nothing_in_the_admin() -> None:
    assert rights("Service") == set()


def test_nobody_may_edit_history() -> None:
    for role in ROLES:
        edits = {right for right in rights(role) if ".view_" not in right}
        for model in apps.get_models():
            if hasattr(model, "pgh_tracked_model"):
                assert not any(right.endswith(f"_{model._meta.model_name}") for right in edits)


def test_making_the_roles_again_repairs_them_and_makes_missing_permissions() -> None:
    before = {role: rights(role) for role in ROLES}
    Group.objects.get(name="Service").permissions.set(Permission.objects.all())
    Group.objects.get(name="Auditor").delete()
    ContentType.objects.get(app_label="catalog", model="rate").delete()
    ContentType.objects.clear_cache()
    make_roles(apps)
    assert {role: rights(role) for role in ROLES} == before


def test_a_migration_makes_them_from_the_models_of_its_day() -> None:
    before = {role: rights(role) for role in ROLES}
    Permission.objects.all().delete()
    state = MigrationLoader(connection).project_state()
    make_roles(state.apps)
    assert {role: rights(role) for role in ROLES} == before


def test_each_role_gets_its_own_sidebar() -> None:
    titles = {role: [group["title"] for group in sidebar(request_of(member(role)))] for role in ROLES}
    assert titles["Service"] == []
    assert "Access" in titles["Auditor"]
    assert "Access" not in titles["Sales ops"]
