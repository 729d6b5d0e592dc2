"""The demo's settings with a fresh secret, quick password hashes and a database folder of their own."""

import os
import secrets
from pathlib import Path

os.environ.update(COUNTINGHOUSE_MODE="demo", SECRET_KEY=secrets.token_urlsafe(64))
os.environ.setdefault("COUNTINGHOUSE_DATA", str(Path(__file__).resolve().parent.parent / ".countinghouse" / "tests"))
os.environ.setdefault("COUNTINGHOUSE_POSTGRES_OPTIONS", "-c fsync=off -c full_page_writes=off")

from billing_project.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Our own migrations really run, so triggers and partitions are there; dj-stripe's would take most of a minute.
MIGRATION_MODULES = {"djstripe": "tests.stripe_tables"}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
