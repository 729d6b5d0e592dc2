"""The API's documentation: the documents of billing files as components, and what every route may answer."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from billing_project.api import MEDIA_TYPE
from billing_project.idempotency import PARAMETER
from invoicing.api import shapes
from invoicing.billing_file.schema import as_written
from meters.api.serializers import RefusalSerializer

F = TypeVar("F", bound=Callable[..., Any])


class Decorator(Protocol):
    def __call__(self, method: F) -> F: ...


JSON = "application/json"
TEMPLATE = "#/components/schemas/{name}"
REFUSALS = {
    400: "The body is no JSON, or a parameter is wrong.",
    401: "No key, or no valid one.",
    403: "The key lacks the scope.",
    404: "There is nothing of that name.",
    409: "It clashes with what is there: taken, billed already, or changed at the same time.",
    422: "It breaks a rule. `errors` names each field by its path.",
    503: "The database is not available: ask again after `Retry-After`.",
}
ARCHIVED = "Usage has to be read from events of a month that is archived; `detail` names it."


def ref(name: str) -> dict[str, Any]:
    return {"$ref": TEMPLATE.format(name=name)}


def list_of(name: str) -> dict[str, Any]:
    """An answer that is not paged."""
    return {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": ref(name)}}}


def page_of(name: str) -> dict[str, Any]:
    """A page of a list."""
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "required": ["next", "previous", "results"],
        "properties": {"next": link, "previous": link, "results": {"type": "array", "items": ref(name)}},
    }


def read(
    operation: str, tag: str, summary: str, answer: dict[str, Any], example: Any, description: str = "", **more: Any
) -> Decorator:
    """Decorator: documents a GET."""
    refusals = _refusals(400, 401, 403, 404, 503)
    return _read(operation, tag, summary, answer, example, description, refusals, **more)


def read_usage(
    operation: str, tag: str, summary: str, answer: dict[str, Any], example: Any, description: str = "", **more: Any
) -> Decorator:
    """Decorator: documents a GET for which usage is counted, which may need an archived month."""
    archived = {(409, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description=ARCHIVED)}
    refusals = {**_refusals(400, 401, 403, 404, 503), **archived}
    return _read(operation, tag, summary, answer, example, description, refusals, **more)


def _read(
    operation: str,
    tag: str,
    summary: str,
    answer: dict[str, Any],
    example: Any,
    description: str,
    refusals: dict[Any, Any],
    **more: Any,
) -> Decorator:
    decorator: Any = extend_schema(
        operation_id=operation,
        tags=[tag],
        summary=summary,
        description=description,
        responses={(200, JSON): answer, **refusals},
        examples=[OpenApiExample("Answer", example, response_only=True, media_type=JSON, status_codes=["200"])],
        **more,
    )
    return cast("Decorator", decorator)


def listed(operation: str, tag: str, summary: str, name: str, row: Any, description: str = "") -> Decorator:
    """Decorator: documents a GET of rows in pages."""
    limit = query("limit", "Rows in a page: 100, at most 1000.", OpenApiTypes.INT)
    cursor = query("cursor", "Where to go on: follow `next`.")
    page = {"next": None, "previous": None, "results": [row]}
    more = {"filters": True, "parameters": [limit, cursor]}
    return read(operation, tag, summary, page_of(name), page, description, **more)


def written(
    operation: str,
    tag: str,
    summary: str,
    body: dict[str, Any],
    requests: dict[str, Any],
    answer: dict[str, Any],
    example: Any,
    *,
    status: int = 200,
    description: str = "",
    saves: bool = True,
) -> Decorator:
    """Decorator: documents a write (or a question that is sent as one, without `saves`)."""
    decorator: Any = extend_schema(
        operation_id=operation,
        tags=[tag],
        summary=summary,
        description=description,
        parameters=[PARAMETER] if saves else [],
        request={JSON: body},
        responses={(status, JSON): answer, **_refusals(*REFUSALS)},
        examples=[
            *(OpenApiExample(name, value, request_only=True, media_type=JSON) for name, value in requests.items()),
            OpenApiExample("Answer", example, response_only=True, media_type=JSON, status_codes=[str(status)]),
        ],
    )
    return cast("Decorator", decorator)


def query(name: str, description: str, kind: Any = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, description=description)


def _refusals(*statuses: int) -> dict[Any, Any]:
    return {
        (status, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description=REFUSALS[status]) for status in statuses
    }


def add_documents(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Postprocessing hook: the structs that routes refer to, and what these refer to."""
    schemas = result["components"]["schemas"]
    for name, schema in components(shapes.DOCUMENTED).items():
        if name in schemas:
            raise ValueError(f"two shapes of the API are called {name}")
        schemas[name] = schema
    return result


def components(documents: Sequence[Any]) -> dict[str, Any]:
    """JSON Schemas by name."""
    _, found = msgspec.json.schema_components(documents, ref_template=TEMPLATE)
    schemas: dict[str, Any] = as_written(found)
    return schemas
