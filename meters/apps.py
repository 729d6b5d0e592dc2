from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class MetersConfig(AppConfig):
    name = "meters"

    def ready(self) -> None:
        post_migrate.connect(forget_what_is_cached, sender=self)
        autodiscover_modules("sources_admin", "rejected_admin", "archive_admin")


def forget_what_is_cached(**kwargs: Any) -> None:
    """A migration or a flush may have emptied the tables that this process has copies of."""
    from meters import dictionary, partitions

    dictionary.forget()
    partitions.forget()
