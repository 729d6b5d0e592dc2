"""GET /api/v1/customers/{key}/focus: what a customer was billed, in the columns of FOCUS 1.2."""

import tempfile
from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from billing_project.api import MEDIA_TYPE
from invoicing.api.docs import REFUSALS
from invoicing.api.rows import OneView
from invoicing.api.writing import customer_of
from invoicing.exports.columns import Kind, as_text
from invoicing.exports.files import write
from invoicing.focus import COLUMNS
from invoicing.focus_charges import focus_rows
from meters.api.serializers import RefusalSerializer

EXAMPLE = {
    "BilledCost": "12.5",
    "BillingAccountId": "acme",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargeDescription": "API calls",
    "ChargePeriodStart": "2026-01-01T00:00:00Z",
    "ChargePeriodEnd": "2026-02-01T00:00:00Z",
    "InvoiceId": "INV-000001",
    "PricingQuantity": "25000",
    "ServiceCategory": "Compute",
    "SkuId": "calls",
}


class FocusQuerySerializer(serializers.Serializer[Any]):
    since = serializers.DateTimeField(
        required=False, default_timezone=UTC, help_text="Documents issued at or after it. Default: all."
    )
    until = serializers.DateTimeField(required=False, default_timezone=UTC, help_text="Documents issued before it.")


class _FileRenderer(BaseRenderer):
    """The rows as a file; errors stay problem+json in text form."""

    def render(self, data: Any, accepted: str | None = None, context: Mapping[str, Any] | None = None) -> bytes:
        if not isinstance(data, dict) or "data" not in data:
            return JSONRenderer().render(data)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"focus.{self.format}"
            rows = ([row[column.name] for column in COLUMNS] for row in data["data"])
            write(path, COLUMNS, rows, lambda _: None)
            return path.read_bytes()


class FocusCsvRenderer(_FileRenderer):
    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"


class FocusParquetRenderer(_FileRenderer):
    media_type = "application/vnd.apache.parquet"
    format = "parquet"
    charset = None
    render_style = "binary"


class FocusJsonRenderer(JSONRenderer):
    """Decimals as text, as everywhere in the API."""

    def render(self, data: Any, accepted: str | None = None, context: Mapping[str, Any] | None = None) -> Any:
        if isinstance(data, dict) and "data" in data:
            data = {
                "data": [
                    {column.name: _json(row[column.name], column.kind) for column in COLUMNS} for row in data["data"]
                ]
            }
        return super().render(data, accepted, context)


def _json(value: Any, kind: Kind) -> Any:
    return value if value is None or kind in (Kind.JSON, Kind.INTEGER) else as_text(value)


class FocusView(OneView):
    renderer_classes = [FocusJsonRenderer, FocusCsvRenderer, FocusParquetRenderer]

    @extend_schema(
        operation_id="read_focus",
        tags=["customers"],
        summary="Read a customer's cost and usage in FOCUS 1.2",
        description=(
            "The lines of issued invoices and what credit notes took off them, one row each, in the columns of FOCUS "
            "1.2 (FinOps Open Cost and Usage Specification). The BilledCost of an InvoiceId adds up to its document, "
            "tax included. `?format=csv` and `?format=parquet` (or Accept) answer with a file. Voided invoices are "
            "left out. A product's tag `focus:Compute` gives its ServiceCategory."
        ),
        parameters=[FocusQuerySerializer],
        responses={
            (200, "application/json"): {
                "type": "object",
                "required": ["data"],
                "properties": {"data": {"type": "array", "items": {"type": "object"}}},
            },
            (200, "text/csv"): OpenApiResponse(str, description="The same rows."),
            (200, "application/vnd.apache.parquet"): OpenApiResponse(bytes, description="The same rows."),
            **{
                (status, MEDIA_TYPE): OpenApiResponse(RefusalSerializer, description=REFUSALS[status])
                for status in (400, 401, 403, 404, 422, 503)
            },
        },
        examples=[
            OpenApiExample(
                "Answer", {"data": [EXAMPLE]}, response_only=True, media_type="application/json", status_codes=["200"]
            )
        ],
    )
    def get(self, request: Request, key: str) -> Response:
        asked = FocusQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        return Response({"data": focus_rows(customer_of(key), given.get("since"), given.get("until"))})
