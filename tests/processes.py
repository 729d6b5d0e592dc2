"""Other processes that work on the test database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from django.conf import settings
from django.db import connection
from django.test import override_settings


def environment(**more: str) -> dict[str, str]:
    """What a `manage.py` in another process needs to see this test's database."""
    given = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**given, "DATABASE_URL": database_url(), "SECRET_KEY": settings.SECRET_KEY, **more}


def database_url() -> str:
    at = connection.settings_dict
    user, password, host = (quote(str(at[name] or ""), safe="") for name in ("USER", "PASSWORD", "HOST"))
    login = f"{user}:{password}" if password else user
    port = f":{at['PORT']}" if at["PORT"] else ""
    return f"postgres://{login}@{host}{port}/{at['NAME']}"


@contextmanager
def connected_settings(url: str) -> Iterator[None]:
    """Stripe's address is that of a fake."""
    from tests.invoicing.stripe_fake import SECRET

    known = {"STRIPE_SECRET_KEY": "sk_test_fake", "STRIPE_WEBHOOK_SECRET": SECRET, "STRIPE_API_URL": url}
    with override_settings(
        **known, ALLOWED_HOSTS=["testserver", "127.0.0.1"], STRIPE_NETWORK_RETRIES=0, STRIPE_TIMEOUT_SECONDS=20
    ):
        yield
