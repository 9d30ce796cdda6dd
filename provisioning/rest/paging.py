"""How lists are cut."""

from rest_framework.pagination import CursorPagination


class CursorPages(CursorPagination):
    """Pages that cost the same at the first row and at the millionth."""

    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"
