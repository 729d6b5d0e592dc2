"""What views of lists and of single things share."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invoicing.api.body import ExactJsonParser

M = TypeVar("M", bound=Model)


class RowsView(ABC, GenericAPIView[M]):
    """A list, in pages. Keys are unique and stay: what is made meanwhile moves no row to another page."""

    parser_classes = [ExactJsonParser]
    ordering: ClassVar[Any] = "key"

    @abstractmethod
    def shown(self, row: M) -> dict[str, Any]:
        """The row as the API shows it, without a query."""

    def list(self, request: Request, rows: QuerySet[M] | None = None) -> Response:
        found = self.filter_queryset(self.get_queryset() if rows is None else rows)
        page = self.paginate_queryset(found) or []
        return self.get_paginated_response([self.shown(row) for row in page])


class OneView(APIView):
    parser_classes = [ExactJsonParser]
