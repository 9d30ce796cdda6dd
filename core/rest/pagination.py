"""How lists are cut: by keyset, so that the ten-thousandth page costs what the first does."""

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from django.db.models import F, Field, Func, QuerySet, TextField, Value
from django.db.models.lookups import GreaterThan, LessThan
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as Refusal
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request


class Row(Func):
    """Columns or values side by side, compared as one: (a, b) < (c, d)."""

    template = "(%(expressions)s)"
    output_field = TextField()  # of no consequence: rows are only compared


class CursorPages(CursorPagination):
    """Pages after or before one row, found by the index that the order comes from.

    The order is by one field and the id, both in one direction, so that rows which
    share the field's value have places of their own.
    """

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def paginate_queryset(
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        """
        Raises:
            NotFound: the cursor is none of ours.
        """
        self.request = request
        self.size = self.get_page_size(request)
        self.base_url = request.build_absolute_uri()
        self.ordering = self.get_ordering(request, queryset, view)
        self.at: Cursor = self.decode_cursor(request) or Cursor(0, False, None)
        try:
            rows = list(self._from_cursor(queryset)[: self.size + 1])
        except (
            *(ValidationError, DataError),
            *(ValueError, TypeError, RecursionError),
        ) as error:
            raise NotFound(self.invalid_cursor_message) from error
        further, self.page = len(rows) > self.size, rows[: self.size]
        came_from_somewhere = self.at.position is not None
        if self.at.reverse:
            self.page.reverse()
            self.has_next, self.has_previous = came_from_somewhere, further
        else:
            self.has_next, self.has_previous = further, came_from_somewhere
        return self.page

    def get_next_link(self) -> str | None:
        return self._link(-1, reverse=False) if self.has_next else None

    def get_previous_link(self) -> str | None:
        return self._link(0, reverse=True) if self.has_previous else None

    def get_page_size(self, request: Request) -> int:
        """
        Raises:
            Refusal: it is asked for what is no size of a page.
        """
        said = request.query_params.get(self.page_size_query_param)
        if said is None:
            return self.page_size
        number = said.isascii() and said.isdecimal() and len(said) < 9
        if not number or not 1 <= int(said) <= self.max_page_size:
            raise Refusal({"page_size": f"A number from 1 to {self.max_page_size}."})
        return int(said)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in described:
            if parameter["name"] == self.page_size_query_param:
                limits = {"minimum": 1, "maximum": self.max_page_size}
                parameter["schema"] = {"type": "integer", **limits}
        return described

    def _from_cursor(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        falling = self.ordering[0].startswith("-") != self.at.reverse
        names = [name.lstrip("-") for name in self.ordering]
        ordered = queryset.order_by(*(f"-{n}" if falling else n for n in names))
        if self.at.position is None:
            return ordered
        fields: list[Field[Any, Any]] = [
            queryset.model._meta.get_field(name) for name in names
        ]
        said = json.loads(str(self.at.position))
        place = [
            Value(field.to_python(text), output_field=field)
            for field, text in zip(fields, said, strict=True)
        ]
        compare = LessThan if falling else GreaterThan
        return ordered.filter(compare(Row(*map(F, names)), Row(*place)))

    def _link(self, index: int, *, reverse: bool) -> str:
        if not self.page:  # everything between was removed meanwhile: turn around
            position = str(self.at.position)
        else:
            row = self.page[index]
            place = [str(getattr(row, name.lstrip("-"))) for name in self.ordering]
            position = json.dumps(place, separators=(",", ":"))
        link: str = self.encode_cursor(Cursor(0, reverse, position))  # type: ignore[arg-type] # text
        return link
