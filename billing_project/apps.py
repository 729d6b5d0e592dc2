from importlib import import_module

from django.apps import AppConfig


class BillingProjectConfig(AppConfig):
    name = "billing_project"
    verbose_name = "Access"

    def ready(self) -> None:
        import_module("billing_project.schema")
