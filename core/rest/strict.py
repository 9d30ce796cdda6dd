"""Bodies and queries that say something else than was asked for are refused, not guessed at."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.filters import BaseFilterBackend, OrderingFilter
from rest_framework.request import Request


class Strict(serializers.Serializer[Any]):
    """The base of every request body: a field that is not known is an error.

    A typing mistake in the name of an optional field would else be taken for silence.
    """

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [name for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: [_unknown()] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


class KnownParameters(BaseFilterBackend):
    """A query of a list that names what the list does not have is an error."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        self.refuse_unknown(request.query_params, view)
        return queryset

    def refuse_unknown(self, said: Iterable[str], view: Any) -> None:
        known = {"cursor", "page_size"}
        if (filters := getattr(view, "filterset_class", None)) is not None:
            known |= set(filters.base_filters)
        if any(issubclass(kind, OrderingFilter) for kind in view.filter_backends):
            known.add("ordering")
        unknown = [name for name in said if name not in known]
        if unknown:
            raise serializers.ValidationError(
                {name: [_unknown()] for name in unknown[:20]}
            )


def _unknown() -> ErrorDetail:
    return ErrorDetail("There is no such field.", code="unknown_field")
