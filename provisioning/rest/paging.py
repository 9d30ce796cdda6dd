"""How lists are cut."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.exceptions import ValidationError as Refusal
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

FURTHEST = 10_000_000  # rows that share one position; further is no page of ours


class CursorPages(CursorPagination):
    """Pages that cost the same at the first row and at the millionth."""

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"
    offset_cutoff = FURTHEST  # more than a thousand devices may well share a name

    def get_page_size(self, request: Request) -> int:
        """
        Raises:
            ValidationError: it is asked for what is no size of a page.
        """
        said = request.query_params.get(self.page_size_query_param)
        if said is None:
            return self.page_size
        if (
            not said.isascii()
            or not said.isdecimal()
            or not (1 <= int(said[:9]) <= self.max_page_size)
        ):
            raise Refusal(
                {"page_size": f"A number from 1 to {self.max_page_size}."},
            )
        return int(said)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in described:
            if parameter["name"] == self.page_size_query_param:
                limits = {"minimum": 1, "maximum": self.max_page_size}
                parameter["schema"] = {"type": "integer", **limits}
        return described

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor: Cursor | None = super().decode_cursor(request)
        if cursor is not None and "\x00" in str(cursor.position):
            raise NotFound(self.invalid_cursor_message)
        return cursor

    def paginate_queryset(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().paginate_queryset(*args, **kwargs)
        except (ValidationError, DataError) as error:
            raise NotFound(self.invalid_cursor_message) from error
