"""Functions for querysets of all packages."""

from typing import TypeVar

from django.db.models import Model, QuerySet

from core.errors import DomainError

M = TypeVar("M", bound=Model)


def first_or_raise(rows: QuerySet[M], error: type[DomainError] | DomainError) -> M:
    """Return the first row of a queryset.

    Raises:
        DomainError: the queryset has no row. The exception raised is `error`.
    """
    row = rows.first()
    if row is None:
        raise error
    return row
