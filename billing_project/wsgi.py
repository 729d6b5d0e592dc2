"""The WSGI entry point."""

import os

from django.core.wsgi import get_wsgi_application

from billing_project import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
embedded.ensure_started()
application = get_wsgi_application()
