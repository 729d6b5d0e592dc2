"""Other processes that work on the test database."""

import os
from urllib.parse import quote

from django.conf import settings
from django.db import connection


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
