"""Keyset pagination: every page costs the same, no matter how many pages precede it."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import F, Field, Func, QuerySet, TextField, Value
from django.db.models.fields import AutoFieldMixin
from django.db.models.lookups import GreaterThan, LessThan
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as ParameterError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

from core.encryption import DecryptionError, decrypt, encrypt
from core.list_database import list_database
from core.statement_limit import statement_limit

UNREADABLE = (ValidationError, DataError, DecryptionError, ValueError, TypeError, RecursionError)


class Row(Func):
    """A row constructor, for comparisons such as (a, b) < (c, d)."""

    template = "(%(expressions)s)"
    output_field = TextField()  # never used, because rows are only compared


PURPOSE = "cursor"
MAX_SECONDS = 5.0  # for a statement of a list


def _sealed(position: str, fields: list[Any]) -> str:
    return encrypt(position, purpose=PURPOSE) if _has_sequence(fields) else position


def _opened(position: str, fields: list[Any]) -> str:
    return decrypt(position, purpose=PURPOSE) if _has_sequence(fields) else position


def _has_sequence(fields: list[Any]) -> bool:
    return any(isinstance(field, AutoFieldMixin) for field in fields)


class KeysetPagination(CursorPagination):
    """Pages that begin after or end before a given row. They are read from an index.

    Rows are ordered by one field and the id, both in the same direction. The id makes the
    order of rows with equal field values unique. If the id is a number of a sequence, which
    would tell how many rows all tenants have, the cursor is encrypted.
    """

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def paginate_queryset(
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        """Return the rows of the requested page.

        Raises:
            NotFound: the cursor is invalid.
            TakesTooLong: the filter does not narrow a large list enough.
        """
        self.request = request
        self.size = self.get_page_size(request)
        self.base_url = request.build_absolute_uri()
        self.ordering = self.get_ordering(request, queryset, view)
        self.at: Cursor = self.decode_cursor(request) or Cursor(0, False, None)
        try:
            ordered = self._from_cursor(queryset.using(list_database()))
            with statement_limit(MAX_SECONDS):
                rows = list(ordered[: self.size + 1])
        except UNREADABLE as error:
            raise NotFound(self.invalid_cursor_message) from error
        has_more, self.page = len(rows) > self.size, rows[: self.size]
        has_cursor = self.at.position is not None
        if self.at.reverse:
            self.page.reverse()
            self.has_next, self.has_previous = has_cursor, has_more
        else:
            self.has_next, self.has_previous = has_more, has_cursor
        return self.page

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        """Return the ordering of the view's `OrderingFilter`, or else the view's `ordering`."""
        self.ordering = getattr(view, "ordering", self.ordering)
        return super().get_ordering(request, queryset, view)

    def get_next_link(self) -> str | None:
        return self._link(-1, reverse=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(0, reverse=True) if self.has_previous else None

    def get_page_size(self, request: Request) -> int:
        """Return the requested number of rows per page, or the default.

        Raises:
            ParameterError: `page_size` is not a whole number within the limits.
        """
        text = request.query_params.get(self.page_size_query_param)
        if text is None:
            return self.page_size
        is_number = text.isascii() and text.isdecimal() and len(text) < 9
        if not is_number or not 1 <= int(text) <= self.max_page_size:
            raise ParameterError(
                {
                    "page_size": f"The page size must be a whole number"
                    f" from 1 to {self.max_page_size}."
                }
            )
        return int(text)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a page. The library's examples of links are no valid URLs."""
        page: dict[str, Any] = super().get_paginated_response_schema(schema)
        for link in ("next", "previous"):
            page["properties"][link].pop("example", None)
        return page

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                limits = {"minimum": 1, "maximum": self.max_page_size}
                parameter["schema"] = {"type": "integer", **limits}
        return parameters

    def _from_cursor(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        descending = self.ordering[0].startswith("-") != self.at.reverse
        names = [name.lstrip("-") for name in self.ordering]
        ordered = queryset.order_by(*(f"-{n}" if descending else n for n in names))
        if self.at.position is None:
            return ordered
        fields: list[Field[Any, Any]] = [queryset.model._meta.get_field(name) for name in names]
        position = json.loads(_opened(str(self.at.position), fields))
        values = [
            Value(field.to_python(text), output_field=field)
            for field, text in zip(fields, position, strict=True)
        ]
        compare = LessThan if descending else GreaterThan
        return ordered.filter(compare(Row(*map(F, names)), Row(*values)))

    def _link(self, index: int, *, reverse: bool) -> str:
        if not self.page:  # all rows of this page were deleted: reuse the cursor's position
            position = str(self.at.position)
        else:
            row = self.page[index]
            values = [str(getattr(row, name.lstrip("-"))) for name in self.ordering]
            fields = [row._meta.get_field(name.lstrip("-")) for name in self.ordering]
            position = _sealed(json.dumps(values, separators=(",", ":")), fields)
        return self.encode_cursor(Cursor(0, reverse, position))  # type: ignore[arg-type] # a JSON text
