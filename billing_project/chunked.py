"""Bodies sent in chunks, without a length: Django takes a request without Content-Length as one without a body."""

import io
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from django.conf import settings


class WithLength:
    """A WSGI application around another: reads a chunked body to just beyond what Django accepts, and says its length.

    Only where the server ends the stream with the body and says so (`wsgi.input_terminated`, as gunicorn does).
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked" and environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read((settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) + 1)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        return self._application(environ, start_response)
