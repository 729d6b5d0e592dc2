"""A short way for plain posts to /api/v1/events: to the same verb, but past middleware and DRF.

Most of what a post of one event costs is finding out that nothing about it is special. What is plain, whole and from a
known key is stored here and answered with 204. Anything else goes on to the view, its body as it came: every refusal,
report and error text is the view's. So does a post that fails here: stored twice it counts once.
"""

import io
from collections.abc import Iterable
from functools import lru_cache
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings
from django.db import Error
from django.http.request import split_domain_port, validate_host
from django.utils import timezone
from rest_framework.exceptions import Throttled
from rest_framework.renderers import JSONRenderer

from billing_project.api import MEDIA_TYPE, Caller, keys
from billing_project.models import Scope
from meters.api.parsers import MAX_BYTES, CloudEventBatchParser, CloudEventParser, JsonParser
from meters.api.taking import Taken, take
from meters.events import Decoded, decode
from meters.exact_json import MalformedError
from meters.group_commit import GroupEndedError

PATH = "/api/v1/events"
PARSERS = {parser.media_type: parser for parser in (CloudEventBatchParser, CloudEventParser, JsonParser)}
# Each asks for what the view alone does: another answer, another body, or the attributes of an event in its headers.
SPECIAL = ("HTTP_PREFER", "HTTP_CONTENT_ENCODING", "HTTP_CE_ID", "HTTP_CE_SPECVERSION")
PLAIN_ACCEPT = ("", "*/*", "application/json")
HEADERS = [("X-Content-Type-Options", "nosniff")]


class FastLane:
    """A WSGI application around Django's."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or not _is_plain(environ):
            return self._application(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        taken = _taken(environ, body)
        if taken is None:
            environ["wsgi.input"] = io.BytesIO(body)
            return self._application(environ, start_response)
        if not taken.rejected:
            start_response("204 No Content", HEADERS.copy())
            return [b""]
        answer = JSONRenderer().render(taken.refusal())
        headers = [*HEADERS, ("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(answer)))]
        start_response("400 Bad Request", headers)
        return [answer]


def _is_plain(environ: WSGIEnvironment) -> bool:
    length = environ.get("CONTENT_LENGTH") or ""
    return (
        environ["REQUEST_METHOD"] == "POST"
        and not environ.get("QUERY_STRING")
        and length.isdecimal()
        and int(length) <= MAX_BYTES
        and environ.get("HTTP_ACCEPT", "") in PLAIN_ACCEPT
        and not any(name in environ for name in SPECIAL)
        and _is_secure_enough(environ)
        and _is_our_host(environ.get("HTTP_HOST", ""))
    )


def _is_secure_enough(environ: WSGIEnvironment) -> bool:
    if not settings.SECURE_SSL_REDIRECT:
        return True
    header, secure = settings.SECURE_PROXY_SSL_HEADER or ("wsgi.url_scheme", "https")
    return bool(environ.get(header) == secure)


@lru_cache(maxsize=100)
def _is_our_host(host: str) -> bool:
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _taken(environ: WSGIEnvironment, body: bytes) -> Taken | None:
    """What became of the events; None where the view has to look."""
    media_type = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    parser = PARSERS.get(media_type)
    try:
        caller = _caller(environ)
        if not parser or not caller:
            return None
        decoded: Decoded = decode(body, now=timezone.now(), single=parser.single, batch=parser.batch)
        return None if decoded.rejected else take(decoded, caller.name)
    except (MalformedError, Throttled, Error, GroupEndedError):
        return None


def _caller(environ: WSGIEnvironment) -> Caller | None:
    """Whose key it is, if it may ingest."""
    scheme, _, secret = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    caller = keys.get(secret.strip()) if scheme.lower() == "bearer" and secret.strip() else None
    return caller if caller and Scope.INGEST in caller.scopes else None
