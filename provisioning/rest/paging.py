"""How lists are cut."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request

FURTHEST = 10_000_000  # rows that share one position; further is no page of ours


class CursorPages(CursorPagination):
    """Pages that cost the same at the first row and at the millionth."""

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"
    offset_cutoff = FURTHEST  # more than a thousand devices may well share a name

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
