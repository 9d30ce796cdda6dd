"""Columns that many lists of the portal have."""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import admin
from unfold.decorators import display

from core.templatetags.portal import relative_time


def time_column(
    title: str, field: str, *, is_sortable: bool = False, never: str = "never"
) -> Callable[[Any, Any], str]:
    """Return a column that shows a time relative to now.

    Args:
        is_sortable: whether the list can be sorted by the column. Set it for indexed fields only.
        never: text for rows without a time.
    """

    @admin.display(description=title, ordering=field if is_sortable else None)
    def column(self: Any, row: Any) -> str:
        return relative_time(getattr(row, field), never=never)

    return column


def choice_column(title: str, field: str, colours: Mapping[str, str]) -> Callable[..., Any]:
    """Return a column that shows the label of a choice in the colour given for its value."""

    @display(description=title, label=colours)
    def column(self: Any, row: Any) -> tuple[str, str]:
        return getattr(row, field), getattr(row, f"get_{field}_display")()

    return column
