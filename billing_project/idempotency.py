"""Writes made once, however often they are sent: `Idempotency-Key`, after the IETF's draft of that header.

The key is locked, looked up and stored in the transaction of the write. A second call with the same key waits for the
first one to end and is given its answer. What was refused changed nothing and is not stored: it may be sent again.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

from django.db import transaction
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing_project.api import Caller
from billing_project.errors import RuleError
from billing_project.locks import lock
from billing_project.models import AnsweredWrite

V = TypeVar("V", bound=APIView)
HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MAX_KEY = 255
KEPT = timedelta(hours=24)
BATCH = 10_000
PARAMETER = OpenApiParameter(
    HEADER,
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Any text of up to 255 characters that names this write. Sent again with the same body within 24 hours "
    f"it is answered as before, with the header `{REPLAYED}: true`, and nothing is done a second time.",
)


def once(write: Callable[..., Response]) -> Callable[..., Response]:
    """Decorator for the method of a view that writes: one transaction, and one write for each `Idempotency-Key`."""

    @wraps(write)
    def method(view: V, request: Request, *args: Any, **kwargs: Any) -> Response:
        with transaction.atomic():
            key = request.headers.get(HEADER)
            if key is None:
                return write(view, request, *args, **kwargs)
            caller = _checked(key, request)
            return _answer_once(caller, key, request, lambda: write(view, request, *args, **kwargs))

    return method


def forget_answers(now: datetime) -> int:
    """Delete answers older than a day, a batch in a transaction; returns how many. Safe to repeat and to kill."""
    old = AnsweredWrite.objects.filter(created_at__lt=now - KEPT).order_by("created_at")
    deleted = 0
    while batch := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += AnsweredWrite.objects.filter(pk__in=batch).delete()[0]
    return deleted


def _checked(key: str, request: Request) -> int:
    if not key.strip() or len(key) > MAX_KEY or not key.isprintable():
        message = f"An {HEADER} has 1 to {MAX_KEY} printable characters."
        raise exceptions.ValidationError({HEADER: [exceptions.ErrorDetail(message, "invalid")]})
    if not isinstance(request.auth, Caller):
        raise exceptions.NotAuthenticated
    return request.auth.id


def _answer_once(caller: int, key: str, request: Request, write: Callable[[], Response]) -> Response:
    lock("idempotency", caller, key)
    sent = _digest(request)
    known = AnsweredWrite.objects.filter(api_key=caller, key=key).first()
    if known is not None:
        if known.request != sent:
            raise RuleError(
                f"This {HEADER} was used for another request: take a new key for each write.",
                code="key_reused",
                path=HEADER,
            )
        return Response(json.loads(known.body), status=known.status, headers={REPLAYED: "true"})
    answer = write()
    body = JSONRenderer().render(answer.data).decode()
    AnsweredWrite.objects.create(
        api_key_id=caller, key=key, request=sent, status=answer.status_code, body=body, created_at=timezone.now()
    )
    return answer


def _digest(request: Request) -> str:
    """The same for the same content, however it is spaced and its members are ordered."""
    sent = [request.method, request.get_full_path(), request.data]
    return hashlib.sha256(json.dumps(sent, sort_keys=True, default=str).encode()).hexdigest()
