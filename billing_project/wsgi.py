"""The WSGI entry point."""

import os
from wsgiref.types import WSGIApplication

from django.core.wsgi import get_wsgi_application

from billing_project import embedded
from billing_project.chunked import WithLength


def _application() -> WSGIApplication:
    django = get_wsgi_application()
    from meters.api.fast_lane import FastLane  # nothing of ours can be imported before Django is set up

    return WithLength(FastLane(django))


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
# No request may hold a transaction open for long: the roller waits for all that are older than its events.
os.environ.setdefault("PGOPTIONS", "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s")
embedded.ensure_started()
application = _application()
