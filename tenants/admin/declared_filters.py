"""Lists of the portal that can be filtered by declared filters only."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, ClassVar, TypeVar

from django.contrib import messages
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from core.errors import TakesTooLong
from core.statement_limit import statement_limit

R = TypeVar("R")
MAX_SECONDS = 10.0  # for a statement of a list


class DeclaredFiltersChangeList(ChangeList):
    """List that accepts the lookups of `list_filter` and `linked_filters` only.

    Django allows every lookup on the model's own fields. A regular expression on a column of
    a large table would occupy the database.
    """

    def get_filters(self, request: HttpRequest) -> Any:
        filters = super().get_filters(request)
        for lookup in filters[2]:  # the parameters that no filter has used
            if lookup not in self.model_admin.linked_filters:
                raise DisallowedModelAdminLookup(f"Filtering by {lookup} is not allowed.")
        return filters


class DeclaredFiltersAdmin(ModelAdmin):
    """Base of all admin classes."""

    linked_filters: ClassVar[tuple[str, ...]] = ()  # lookups in links to the list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DeclaredFiltersChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in self.linked_filters or super().lookup_allowed(lookup, value, request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        show = super().changelist_view
        is_filtered = request.method == "GET" and bool(request.GET)

        def answer() -> HttpResponse:
            with statement_limit(MAX_SECONDS) if is_filtered else nullcontext():
                return show(request, extra_context)

        return self.with_filters(request, request.path, answer)

    def with_filters(self, request: HttpRequest, page: str, answer: Callable[[], R]) -> Any:
        """Return the answer. On invalid filter values, redirect to `?e=1`, as Django does.

        If it takes too long with its filters, redirect to the list without filters.

        Args:
            page: the address of the list.
        """
        values = [*request.GET.values(), *request.POST.values()]
        try:
            if any("\x00" in value for value in values):
                raise ValidationError("NUL")
            return answer()
        except TakesTooLong as error:
            messages.error(request, str(error))
            return redirect(page)
        except (ValidationError, DataError, IncorrectLookupParameters):
            return redirect(f"{page}?e=1")
