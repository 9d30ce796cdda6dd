"""Reject request bodies and query strings that contain unknown names."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.filters import BaseFilterBackend, OrderingFilter
from rest_framework.request import Request


class StrictSerializer(serializers.Serializer[Any]):
    """Base class of request bodies. An unknown field is an error.

    Otherwise a misspelled optional field would be ignored without notice.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError({name: [_unknown()] for name in unknown[:20]})
        return super().to_internal_value(data)


class RejectUnknownParameters(BaseFilterBackend):
    """Filter backend that rejects unknown query parameters of a list."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        self.reject_unknown(request.query_params, view)
        return queryset

    def reject_unknown(self, names: Iterable[str], view: Any) -> None:
        """Raise a `ValidationError` that lists the parameter names that the view does not know."""
        known = {"cursor", "page_size"}
        if (filters := getattr(view, "filterset_class", None)) is not None:
            known |= set(filters.base_filters)
        if any(issubclass(kind, OrderingFilter) for kind in view.filter_backends):
            known.add("ordering")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise serializers.ValidationError({name: [_unknown()] for name in unknown[:20]})


def _unknown() -> ErrorDetail:
    return ErrorDetail("Unknown field.", code="unknown_field")
