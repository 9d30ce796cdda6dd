"""Lists of the portal whose columns can be chosen, and whose filters can be saved as views."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.contrib.admin.utils import label_for_field
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from core import clock
from core.errors import DomainError
from core.querysets import first_or_raise
from tenants import saved_views
from tenants.admin.base import PortalAdmin, list_url, signed_in_user
from tenants.context import current_tenant_id
from tenants.errors import NoSuchView
from tenants.models import Role
from tenants.roles import role_in_current_tenant


class SavedViewsMixin(PortalAdmin):
    """Admin whose list has saved views and a choice of columns.

    `optional_columns` are columns that a user can add to those of `list_display`. The first
    column, which leads to the page of a row, is always shown.
    """

    optional_columns: ClassVar[Sequence[str]] = ()

    def get_optional_columns(self, request: HttpRequest) -> Sequence[Any]:
        """Return further columns: names, or functions with a `__name__`."""
        return self.optional_columns

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        usual = super().get_list_display(request)
        chosen = signed_in_user(request).list_columns.get(self.opts.label_lower, ())
        if not chosen:
            return usual
        available = {_name(item): item for item in self._available(request)}
        columns = [available[name] for name in chosen if name in available]
        first = usual[:1]
        return [*first, *(column for column in columns if column not in first)]

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        wrap = self.admin_site.admin_view
        return [
            path("columns/", wrap(require_POST(self.choose_columns)), name=f"{name}_columns"),
            path("views/", wrap(require_POST(self.save_view)), name=f"{name}_save_view"),
            path(
                "views/<uuid:view_id>/", wrap(require_GET(self.open_view)), name=f"{name}_open_view"
            ),
            path(
                "views/<uuid:view_id>/delete/",
                wrap(require_POST(self.delete_view_of_list)),
                name=f"{name}_delete_view",
            ),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        user, model = signed_in_user(request), self.opts.label_lower
        shown = [_name(item) for item in self.get_list_display(request)]
        columns = [
            (_name(item), self._label(item), _name(item) in shown, index == 0)
            for index, item in enumerate(self._available(request))
        ]
        views = []
        if current_tenant_id() is not None:
            views = [
                (view, view.user_id is not None or self._may_share(request))
                for view in saved_views.visible(user, model)
            ]
        context = {
            "saved_views": views,
            "list_columns": columns,
            "columns_are_chosen": model in user.list_columns,
            "may_save_views": current_tenant_id() is not None,
            "may_share_views": self._may_share(request),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def choose_columns(self, request: HttpRequest) -> HttpResponse:
        """Store the columns that the user wants, or the usual ones."""
        self._require_view(request)
        columns = [] if "usual" in request.POST else self._known(request.POST.getlist("column"))
        saved_views.choose_columns(
            user=signed_in_user(request), model=self.opts.label_lower, columns=columns
        )
        return redirect(self._list(request.POST.get("query", "")))

    def save_view(self, request: HttpRequest) -> HttpResponse:
        """Save the filters, the order and the columns of the list under a name."""
        self._require_view(request)
        user, query = signed_in_user(request), request.POST.get("query", "")
        is_shared = "shared" in request.POST
        if current_tenant_id() is None or (is_shared and not self._may_share(request)):
            raise PermissionDenied
        try:
            view = saved_views.save(
                user=user,
                is_shared=is_shared,
                model=self.opts.label_lower,
                name=request.POST.get("name", ""),
                query=query,
                columns=user.list_columns.get(self.opts.label_lower, ()),
                now=clock.now(),
            )
            messages.success(request, f"The view {view.name} was saved.")
        except DomainError as error:
            messages.error(request, str(error))
        return redirect(self._list(query))

    def open_view(self, request: HttpRequest, view_id: UUID) -> HttpResponse:
        """Show the list as it was saved."""
        self._require_view(request)
        user, model = signed_in_user(request), self.opts.label_lower
        try:
            rows = saved_views.visible(user, model)
            view = first_or_raise(rows.filter(pk=view_id), NoSuchView)
        except DomainError as error:
            messages.error(request, str(error))
            return redirect(self._list(""))
        saved_views.choose_columns(user=user, model=model, columns=view.columns)
        return redirect(self._list(view.query))

    def delete_view_of_list(self, request: HttpRequest, view_id: UUID) -> HttpResponse:
        """Delete a view of the user, or of the tenant."""
        self._require_view(request)
        try:
            view = saved_views.delete(
                user=signed_in_user(request),
                view_id=view_id,
                may_delete_shared=self._may_share(request),
            )
            messages.success(request, f"The view {view.name} was deleted.")
        except DomainError as error:
            messages.error(request, str(error))
        return redirect(self._list(request.POST.get("query", "")))

    def _available(self, request: HttpRequest) -> list[Any]:
        return [*super().get_list_display(request), *self.get_optional_columns(request)]

    def _known(self, names: Sequence[str]) -> list[str]:
        return [name for name in dict.fromkeys(names) if len(name) <= 64][:30]

    def _label(self, column: Any) -> str:
        text: Any = label_for_field(column, self.model, self)
        return str(text)[:1].upper() + str(text)[1:]

    def _may_share(self, request: HttpRequest) -> bool:
        role = role_in_current_tenant(signed_in_user(request))
        return role is not None and role.includes(Role.OPERATOR)

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _list(self, query: str) -> str:
        return f"{list_url(self)}?{query}" if query else list_url(self)


def _name(column: Any) -> str:
    return column if isinstance(column, str) else str(column.__name__)
