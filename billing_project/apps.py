from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules


class BillingProjectConfig(AppConfig):
    name = "billing_project"
    verbose_name = "Access"

    def ready(self) -> None:
        import_module("billing_project.schema")
        autodiscover_modules("job_admin")
        self._check_schedule()

    def _check_schedule(self) -> None:
        from billing_project.jobs import check_schedule

        if faults := check_schedule(settings.WORKER_SCHEDULE):
            raise ImproperlyConfigured(f"WORKER_SCHEDULE: {'; '.join(faults)}.")
