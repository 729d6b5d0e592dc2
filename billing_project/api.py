"""What every API view shares: keys, scopes, pages, and one shape for errors (RFC 9457)."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pghistory
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views import defaults
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.errors import Problem, RuleError
from billing_project.models import ApiKey, Scope, digest

if TYPE_CHECKING:  # rest_framework.views loads this module through its settings
    from rest_framework.views import APIView

CACHE_SECONDS = 30
RETRY_AFTER = 5  # seconds
MEDIA_TYPE = "application/problem+json"
logger = logging.getLogger(__name__)
# Ours, and those of other systems' clients.
PATHS = ("/api/", "/v1/", "/v2/", "/ingest")


@dataclass(frozen=True, slots=True)
class Caller:
    """The key a request came with: `request.auth`."""

    id: int
    name: str
    prefix: str
    scopes: frozenset[str]


class KeyCache:
    """Known keys of this process. A revoked key may work in other processes until its entry is 30 s old."""

    def __init__(self) -> None:
        self._callers: dict[str, tuple[float, Caller]] = {}

    def get(self, secret: str) -> Caller | None:
        key = digest(secret)
        until, caller = self._callers.get(key, (0.0, None))
        if caller and time.monotonic() < until:
            return caller
        caller = self._read(key)
        if caller:
            self._callers[key] = (time.monotonic() + CACHE_SECONDS, caller)
        else:
            self._callers.pop(key, None)
        return caller

    def clear(self) -> None:
        self._callers.clear()

    def _read(self, key: str) -> Caller | None:
        found = ApiKey.objects.filter(digest=key, revoked_at=None).first()
        if not found:
            return None
        ApiKey.objects.filter(pk=found.pk).update(last_used_at=timezone.now())
        return Caller(found.pk, found.name, found.prefix, frozenset(found.scopes))


keys = KeyCache()


class BearerKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer KEY`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Caller] | None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer" or not secret.strip():
            raise exceptions.AuthenticationFailed("Send the header `Authorization: Bearer KEY`.", "malformed_key")
        caller = self.caller(secret.strip())
        if not caller:
            raise exceptions.AuthenticationFailed("This API key is unknown or revoked.", "unknown_key")
        pghistory.context(api_key=caller.prefix)
        return AnonymousUser(), caller

    def caller(self, secret: str) -> Caller | None:
        return keys.get(secret)

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


class ScopePermission(BasePermission):
    """Reading takes the scope `read`, everything else `write`."""

    def scope(self, request: Request) -> str:
        return Scope.READ if request.method in SAFE_METHODS else Scope.WRITE

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, Caller):
            raise exceptions.NotAuthenticated("Send the header `Authorization: Bearer KEY`.")
        scope = self.scope(request)
        if scope not in request.auth.scopes:
            raise exceptions.PermissionDenied(f'This API key lacks the scope "{scope}".', "missing_scope")
        return True


def requires(scope: str) -> type[ScopePermission]:
    """The permission class of a view that takes one scope, whatever the method."""

    class RequiresScope(ScopePermission):
        def scope(self, request: Request) -> str:
            return scope

    return RequiresScope


class Pagination(CursorPagination):
    """Newest first by primary key; a view may name another unique order in `ordering`."""

    page_size = 100
    page_size_query_param = "limit"
    max_page_size = 1000
    ordering = "-pk"

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: "APIView") -> tuple[str, ...]:
        ordering = getattr(view, "ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)


def problem(status: int, detail: str, problems: Sequence[Problem] = (), **extra: object) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "errors": [asdict(each) for each in problems],
        **extra,
    }


def problem_response(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """DRF's exception handler."""
    if isinstance(error, RuleError):
        return _answer(error.status, error.message, error.problems)
    if isinstance(error, OperationalError | InterfaceError):
        return _unavailable(error)
    error = _as_api_exception(error)
    if not isinstance(error, exceptions.APIException):
        return None
    if isinstance(error, exceptions.UnsupportedMediaType) and str(error.detail).endswith(" in request."):
        known = [parser.media_type for parser in getattr(context.get("view"), "parser_classes", ())]
        error = exceptions.UnsupportedMediaType("", f"{error.detail} Send {' or '.join(known)}.")
    problems = list(_problems(error.get_full_details()))
    detail = "The request is not valid." if isinstance(error, exceptions.ValidationError) else str(error.detail)
    answer = _answer(error.status_code, detail, problems)
    if header := getattr(error, "auth_header", None):
        answer["WWW-Authenticate"] = header
    if wait := getattr(error, "wait", None):
        answer["Retry-After"] = str(int(wait) + 1)
    return answer


def _unavailable(error: Exception) -> Response:
    """The database is down, full or too slow: nobody's request is wrong, and the same one may work in a moment."""
    logger.error("The database does not do its work: %s", str(error).strip())
    detail = "The database is not available. Nothing is known to be stored: send the request again."
    answer = _answer(HTTPStatus.SERVICE_UNAVAILABLE, detail, [Problem("", "unavailable", "Try again.")])
    answer["Retry-After"] = str(RETRY_AFTER)
    return answer


class TooLarge(exceptions.APIException):
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is too large."
    default_code = "too_large"


def _as_api_exception(error: Exception) -> Exception:
    if isinstance(error, Http404):
        return exceptions.NotFound()
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return TooLarge()
    if isinstance(error, ModelValidationError):
        fields = error.error_dict if hasattr(error, "error_dict") else {"": error.error_list}
        return exceptions.ValidationError(
            {
                "" if name == "__all__" else name: [
                    exceptions.ErrorDetail(text, each.code or "invalid") for each in errors for text in each.messages
                ]
                for name, errors in fields.items()
            }
        )
    return error


def _problems(details: Any, path: str = "") -> Iterator[Problem]:
    """DRF nests its details like the input; here they become one flat list with dotted paths."""
    if isinstance(details, dict) and set(details) == {"message", "code"}:
        yield Problem(path, str(details["code"]), str(details["message"]))
    elif isinstance(details, dict):
        for name, inner in details.items():
            step = "" if name == "non_field_errors" else str(name)
            yield from _problems(inner, ".".join(part for part in (path, step) if part))
    else:
        for index, inner in enumerate(details):
            is_message = set(inner) == {"message", "code"} if isinstance(inner, dict) else False
            if inner:
                yield from _problems(inner, path if is_message else f"{path}.{index}".lstrip("."))


def _answer(status: int, detail: str, problems: Sequence[Problem]) -> Response:
    return Response(problem(status, detail, problems), status=status, content_type=MEDIA_TYPE)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if not request.path.startswith(PATHS):
        return defaults.page_not_found(request, exception)
    body = problem(404, "There is nothing at this address.", [Problem("", "not_found", "Not found.")])
    return JsonResponse(body, status=404, content_type=MEDIA_TYPE)


def server_error(request: HttpRequest) -> HttpResponse:
    if not request.path.startswith(PATHS):
        return defaults.server_error(request)
    body = problem(500, "The server failed; the failure has been logged.", [Problem("", "error", "Server error.")])
    return JsonResponse(body, status=500, content_type=MEDIA_TYPE)
