"""The ASGI entry point."""

import os

from django.core.asgi import get_asgi_application

from billing_project import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
embedded.ensure_started()
application = get_asgi_application()
