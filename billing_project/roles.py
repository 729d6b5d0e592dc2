"""Who may do what: the five roles, as groups that a migration makes."""

from collections.abc import Iterator
from typing import Any

from django.contrib.auth.management import create_permissions

FLOORS = ("meters", "catalog", "contracts", "invoicing")
VIEW = ("view",)
EDIT = ("view", "add", "change", "delete")

# role -> app -> what it may do with the app's models
ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "Sales ops": {"meters": EDIT, "catalog": EDIT, "contracts": EDIT, "invoicing": VIEW},
    "Deal desk": dict.fromkeys(FLOORS, VIEW),
    "Finance": dict.fromkeys(FLOORS, VIEW),
    "Auditor": dict.fromkeys((*FLOORS, "billing_project", "auth"), VIEW),
    "Service": {},
}
# What editing an app does not include: how far deals may go by themselves, changes that wait for a second person, and
# the rates of tax.
RESERVED = {("contracts", "dealguardrails"), ("contracts", "amendment"), ("catalog", "taxrate")}
VERBS: dict[str, tuple[str, ...]] = {
    "Deal desk": (
        "contracts.approve_contract",
        "contracts.add_dealguardrails",
        "contracts.change_dealguardrails",
        "contracts.delete_dealguardrails",
    ),
    "Finance": (
        "catalog.add_taxrate",
        "catalog.change_taxrate",
        "catalog.delete_taxrate",
        "contracts.approve_contract",
        "billing_project.view_jobstate",
        "billing_project.run_job",
        "billing_project.view_jobfailure",
        "invoicing.approve_invoice",
        "invoicing.issue_invoice",
        "invoicing.void_invoice",
        "invoicing.record_payment",
        "invoicing.credit_invoice",
        "invoicing.add_line",
        "invoicing.close_month",
        "invoicing.retry_stripe",
        "invoicing.replay_delivery",
        *(
            f"invoicing.{each}_{name}"
            for name in ("alertrule", "webhookendpoint")
            for each in ("add", "change", "delete")
        ),
        "invoicing.add_stripecustomer",
        "invoicing.change_stripecustomer",
        "invoicing.decide_late_usage",
        "invoicing.add_autoapproval",
        "invoicing.change_autoapproval",
        "invoicing.delete_autoapproval",
    ),
}


def make_roles(apps: Any) -> None:
    """Set the groups' permissions to the tables above. For migrations: later ones call it again.

    Django makes permissions only after the last migration, so they are made here first.
    """
    group_model = apps.get_model("auth", "Group")
    permission_model = apps.get_model("auth", "Permission")
    for app in sorted({app for rights in ROLES.values() for app in rights}):
        _make_permissions(apps, app)
    for role in ROLES:
        group, _ = group_model.objects.get_or_create(name=role)
        wanted = set(_rights(apps, role))
        found = permission_model.objects.filter(content_type__app_label__in={app for app, _ in wanted})
        found = found.select_related("content_type")
        group.permissions.set(each for each in found if (each.content_type.app_label, each.codename) in wanted)


def _rights(apps: Any, role: str) -> Iterator[tuple[str, str]]:
    for app, actions in ROLES[role].items():
        for model in apps.get_app_config(app).get_models():
            reserved = (app, model._meta.model_name) in RESERVED
            allowed = VIEW if reserved or _is_history(model) else actions
            yield from ((app, f"{action}_{model._meta.model_name}") for action in allowed)
    for verb in VERBS.get(role, ()):
        app, codename = verb.split(".")
        yield app, codename


def _is_history(model: Any) -> bool:
    return any(field.name == "pgh_id" for field in model._meta.fields)


def _make_permissions(apps: Any, app: str) -> None:
    config = apps.get_app_config(app)
    if not getattr(config, "models_module", None):
        config.models_module = True  # a migration's app has no module, and Django would skip it
    create_permissions(config, verbosity=0, apps=apps)
