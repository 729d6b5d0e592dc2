"""Settings, read from the environment; safe by default.

`COUNTINGHOUSE_MODE` is `production` (the default) or `demo` (plain http on the loopback).
"""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import django_stubs_ext
import environ
import pgtrigger
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from billing_project import embedded
from billing_project.logs import logging_config

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
django_stubs_ext.monkeypatch()  # Django's generic classes take type arguments at run time too

MODE = env.str("COUNTINGHOUSE_MODE", default="production")
if MODE not in {"production", "demo"}:
    raise ImproperlyConfigured(f'COUNTINGHOUSE_MODE is "{MODE}": set it to "production" or "demo".')
DEMO = MODE == "demo"

DEBUG = False
SECRET_KEY = embedded.secret_key()
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Give the environment variable SECRET_KEY a random text of 50 characters or more, "
        "or run `manage.py demo` once: it makes one in the data folder."
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "djmoney",
    "djstripe",
    "pgtrigger",
    "pghistory",
    "procrastinate.contrib.django",
    "billing_project",
    "meters",
    "catalog",
    "contracts",
    "invoicing",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "billing_project.middleware.HistoryMiddleware",
    "billing_project.middleware.RefusalMiddleware",
]

ROOT_URLCONF = "billing_project.urls"
WSGI_APPLICATION = "billing_project.wsgi.application"
ASGI_APPLICATION = "billing_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url_config(embedded.database_url())}
DATABASES["default"]["HOST"] = unquote(DATABASES["default"]["HOST"])  # a socket's folder: postgres://user@%2Frun/name
DATABASES["default"] |= {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,
    # Reading usage is one long statement that runs for milliseconds; compiling it takes PostgreSQL most of a second.
    # How often the same text is asked before it is prepared, by the cursors that bind on the server
    # (billing_project.prepared, meters.event_rows). Query sets never are.
    "prepare_threshold": 3,
    "options": f"-c jit=off {env.str('PGOPTIONS', default='')}".strip(),
    **DATABASES["default"].get("OPTIONS", {}),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = None if DEMO else env.str("STATIC_ROOT", default=str(BASE_DIR / "staticfiles"))
WHITENOISE_USE_FINDERS = DEMO
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEMO
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

SECURE_SSL_REDIRECT = not DEMO
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 0 if DEMO else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = not DEMO
SECURE_HSTS_PRELOAD = not DEMO
SESSION_COOKIE_SECURE = not DEMO
CSRF_COOKIE_SECURE = not DEMO
if env.bool("BEHIND_TLS_PROXY", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The ingestion API takes 10 MB and answers 413 itself; Django's own limit must lie above it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 11 * 1024 * 1024

# How long the roller remembers an event's source and id to refuse the same one with another time.
METERS_IDENTITY_DAYS = env.int("METERS_IDENTITY_DAYS", default=35)
# How many events may wait for the roller before clients are asked to wait themselves (429); 0: any number.
METERS_MAX_BACKLOG = env.int("METERS_MAX_BACKLOG", default=5_000_000)
# How many may wait before posts are stored a little later each, so that the roller keeps up; 0: any number.
METERS_SLOWING_BACKLOG = env.int("METERS_SLOWING_BACKLOG", default=100_000)
# How long (in milliseconds) a post of a few events waits for others to share its commit with; 0: those that come while
# a commit is under way share the next one; -1: every post has a commit of its own.
METERS_GROUP_COMMIT_MS: float | None = env.float("METERS_GROUP_COMMIT_MS", default=0.0)
if METERS_GROUP_COMMIT_MS is not None and METERS_GROUP_COMMIT_MS < 0:
    METERS_GROUP_COMMIT_MS = None

# Raw events older than this leave with `manage.py archive_events`. None: they are kept.
METERS_RETENTION_MONTHS: int | None = env.int("METERS_RETENTION_MONTHS", default=0) or None

# What names the customer in the payload of Stripe's meter events; a meter in Stripe may choose another word.
STRIPE_CUSTOMER_NAMES = env.list("STRIPE_CUSTOMER_NAMES", default=["stripe_customer_id"])

LOGGING = logging_config(json_lines=not DEMO, level=env.str("LOG_LEVEL", default="WARNING" if DEMO else "INFO"))

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["billing_project.api.BearerKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["billing_project.api.ScopePermission"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_PAGINATION_CLASS": "billing_project.api.Pagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "billing_project.api.problem_response",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Countinghouse",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "OAS_VERSION": "3.1.0",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "invoicing.api.docs.add_documents",
    ],
}

DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
STRIPE_API_VERSION = "2026-05-27.dahlia"
STRIPE_LIVE_MODE = env.bool("STRIPE_LIVE_MODE", default=False)
# Without a key nothing is exchanged with Stripe, and everything else works.
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_WEBHOOK_SECRET = env.str("STRIPE_WEBHOOK_SECRET", default="")
STRIPE_API_URL = env.str("STRIPE_API_URL", default="https://api.stripe.com")
STRIPE_TIMEOUT_SECONDS = env.int("STRIPE_TIMEOUT_SECONDS", default=30)
STRIPE_NETWORK_RETRIES = env.int("STRIPE_NETWORK_RETRIES", default=2)
# How invoices are paid unless the customer's own page says otherwise: send_invoice or charge_automatically.
STRIPE_COLLECTION = env.str("STRIPE_COLLECTION", default="send_invoice")
if STRIPE_COLLECTION not in {"send_invoice", "charge_automatically"}:
    raise ImproperlyConfigured(f'STRIPE_COLLECTION is "{STRIPE_COLLECTION}": send_invoice or charge_automatically.')

# Whether Stripe Tax computes the tax of customers without a rate or a treatment of their own.
STRIPE_TAX = env.bool("STRIPE_TAX", default=False)
# Threshold invoices and recharges that are refused are charged again after so many hours, one after the other.
_hours = env.list("STRIPE_CHARGE_WAITS", default=["1", "24", "72", "120"])
if not all(each.isdecimal() and 0 < int(each) < 10_000 for each in _hours):
    raise ImproperlyConfigured(f"STRIPE_CHARGE_WAITS is {_hours}: give whole hours above 0, such as 1,24,72.")
STRIPE_CHARGE_WAITS = [timedelta(hours=int(each)) for each in _hours]

# Event sources edited in the admin read folders on the server only below these.
EVENT_SOURCE_FOLDERS = env.list("EVENT_SOURCE_FOLDERS", default=[str(embedded.data_folder() / "imports")])

PGHISTORY_LEVEL = pgtrigger.Statement
PGHISTORY_APPEND_ONLY = True

# When jobs run, by name, as cron expressions (a sixth field: seconds); "" is never. `manage.py work --list` names them.
WORKER_SCHEDULE: dict[str, str] = env.json("WORKER_SCHEDULE", default={})

# Where mail goes out, such as smtp+tls://user:password@host:587; without it nothing is sent. EMAILS: which kinds.
EMAIL_URL = env.str("EMAIL_URL", default="")
globals().update(env.email_url_config(EMAIL_URL or "dummymail://"))
EMAILS = env.list("EMAILS", default=["invoices", "reminders", "alerts"])
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env.str("SELLER_EMAIL", default="") or "billing@localhost"
# Days before (below zero) and after its due date on which an unpaid invoice is reminded of.
REMINDER_DAYS = [int(day) for day in env.list("REMINDER_DAYS", default=["-3", "7", "21"])]
WEBHOOK_TIMEOUT_SECONDS: int = env.int("WEBHOOK_TIMEOUT_SECONDS", default=15)
# Endpoints are addresses that people type: on networks of your own only if you say so.
WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS: bool = env.bool("WEBHOOKS_MAY_REACH_PRIVATE_NETWORKS", default=False)

INVOICE_GRACE_HOURS = env.int("INVOICE_GRACE_HOURS", default=24)
INVOICE_NUMBER_PREFIX = env.str("INVOICE_NUMBER_PREFIX", default="INV-")
CREDIT_NOTE_NUMBER_PREFIX = env.str("CREDIT_NOTE_NUMBER_PREFIX", default="CN-")
# Who wrote a contract or a line of an invoice does not approve it.
FOUR_EYES = env.bool("FOUR_EYES", default=True)
# A total further than this from the one before needs a look.
REVIEW_CHANGE_PERCENT = env.int("REVIEW_CHANGE_PERCENT", default=50)
# Who sends the invoices, as it stands on them.
SELLER = {
    "name": env.str("SELLER_NAME", default="Countinghouse"),
    "address": env.str("SELLER_ADDRESS", default=""),
    "tax_id": env.str("SELLER_TAX_ID", default=""),
    "email": env.str("SELLER_EMAIL", default=""),
    # Two letters of ISO 3166; electronic invoices need it.
    "country": env.str("SELLER_COUNTRY", default=""),
    "registration": env.str("SELLER_REGISTRATION", default=""),
    # How to pay by bank transfer.
    "account_holder": env.str("SELLER_ACCOUNT_HOLDER", default=""),
    "iban": env.str("SELLER_IBAN", default=""),
    "bic": env.str("SELLER_BIC", default=""),
    "bank": env.str("SELLER_BANK", default=""),
    "note": env.str("SELLER_NOTE", default=""),
}

UNFOLD = {
    "SITE_TITLE": "Countinghouse",
    "SITE_HEADER": "Countinghouse",
    "SITE_SUBHEADER": "Usage billing",
    "SITE_SYMBOL": "receipt_long",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("billing_project/favicon.svg")}
    ],
    "SHOW_HISTORY": True,
    "DASHBOARD_CALLBACK": "invoicing.admin.front_page.front_page",
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "billing_project.navigation.sidebar",
    },
}
