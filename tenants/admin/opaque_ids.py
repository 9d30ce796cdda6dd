"""Admin of rows whose ids are numbers of a sequence that all tenants share."""

from copy import copy
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from core.opaque_ids import PublicIdQuerySet
from tenants.admin.base import ReadOnlyAdmin


class OpaqueIdAdmin(ReadOnlyAdmin):
    """Show and accept `public_id` instead of the id, in addresses, check boxes and the search.

    The numbers would tell a tenant how busy the others are.
    """

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        return self._rows(request).with_public_ids([object_id]).first()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        base: Any = super().get_changelist(request, **kwargs)

        class OpaqueChangeList(base):
            def url_for_result(self, result: Any) -> str:
                return str(super().url_for_result(_with_public_id(result)))

        return OpaqueChangeList

    def action_checkbox(self, obj: Any) -> SafeString:
        return super().action_checkbox(_with_public_id(obj))

    action_checkbox.short_description = (  # type: ignore[attr-defined]
        ModelAdmin.action_checkbox.short_description
    )

    def response_action(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        posted = request.POST.copy()
        rows = self._rows(request).with_public_ids(posted.getlist(ACTION_CHECKBOX_NAME))
        posted.setlist(ACTION_CHECKBOX_NAME, [str(pk) for pk in rows.values_list("pk", flat=True)])
        request.POST = posted  # type: ignore[assignment]
        return super().response_action(request, queryset)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found = self.with_searched_id(queryset, search_term.strip())
        if found is not None:
            return found, False
        return super().get_search_results(request, queryset, search_term)

    def with_searched_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        """Return the rows with the public id that was searched; None if the term is no such id."""
        keys = self.model.keys_of(term)
        return queryset.filter(pk__in=keys) if keys else None

    def _rows(self, request: HttpRequest) -> PublicIdQuerySet[Any]:
        rows: Any = self.get_queryset(request)
        assert isinstance(rows, PublicIdQuerySet)
        return rows


def _with_public_id(row: Any) -> Any:
    """Return a copy of a row for display only, whose primary key is the public id."""
    shown = copy(row)
    shown.pk = row.public_id
    return shown
