"""Base classes of the portal's admin pages, and the pages shown after bulk actions."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from django.contrib import admin as django_admin
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin, TabularInline

from core.errors import DomainError
from core.list_database import list_database
from tenants.admin.declared_filters import DeclaredFiltersAdmin
from tenants.admin.forms import ServiceForm
from tenants.admin.late_pages import InfinitePaginator
from tenants.context import tenant_scope
from tenants.models import User
from tenants.roles import visible_to

M = TypeVar("M", bound=models.Model)
Action = Callable[..., HttpResponse]
MAX_EXAMPLES = 20  # rows shown on the page that asks for confirmation
MAX_ROWS_PER_ACTION = 500  # maximum number of rows of one action; use a command for more


class PortalAdmin(DeclaredFiltersAdmin):
    """Show members the rows of their tenant, and superusers the rows of all tenants.

    If `service_form` is set, this form adds and changes rows. Do not list the form's
    `tenant` field in the fieldsets. For superusers, the field is shown first in a new row.
    """

    service_form: ClassVar[type[ServiceForm] | None] = None
    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if self.service_form is None:
            return super().get_form(request, obj, change, **kwargs)
        return self.service_form.for_user(signed_in_user(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        has_choice = self.service_form is not None and "tenant" in self.service_form.base_fields
        if not has_choice or obj is not None or not signed_in_user(request).sees_every_tenant:
            return fieldsets
        (title, options), *others = fieldsets
        return [(title, {**options, "fields": ("tenant", *options["fields"])}), *others]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save nothing for a `ServiceForm`, because the form has already called its service."""
        if not isinstance(form, ServiceForm):
            super().save_model(request, obj, form, change)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list. Its title is what it lists, as in the menu."""
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        queryset = visible_to(signed_in_user(request), self.model)
        if _is_list_page(request, self):
            queryset = queryset.using(list_database())
        ordering = self.get_ordering(request)
        return queryset.order_by(*ordering) if ordering else queryset

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        if _has_tenant(self.model) and signed_in_user(request).sees_every_tenant:
            columns.insert(1, "tenant")
        return columns

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        filters = list(super().get_list_filter(request))
        if _has_tenant(self.model) and signed_in_user(request).sees_every_tenant:
            filters.insert(0, "tenant")
        return filters

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Offer one button that saves. The page of a saved row is one click away."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        related = db_field.remote_field.model
        kwargs.setdefault("queryset", visible_to(signed_in_user(request), related))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class PageAdmin(PortalAdmin):
    """Admin whose change page shows an additional template above the fields of the row."""

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the template variables of a row's page. Called in the tenant scope of the row."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if row is not None and self.has_view_permission(request, row):
            with tenant_scope(row.tenant_id):
                context |= self.page_context(request, row)
        return super().change_view(request, object_id, form_url, context)


class SingletonAdmin(PortalAdmin):
    """Admin of a model with at most one row per tenant, such as a policy.

    The list page redirects members to the row of their tenant, or to the form that adds it.
    Members who may not add the row see a message with the defaults.
    """

    default_message: ClassVar[str]  # shown if the tenant has no row

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if signed_in_user(request).sees_every_tenant or not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        pages = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        row = self.get_queryset(request).first()
        if row is not None:
            return redirect(reverse(f"{pages}_change", args=[row.pk]))
        if self.has_add_permission(request):
            return redirect(f"{pages}_add")
        messages.info(request, self.default_message)
        return super().changelist_view(request, extra_context)


class CascadeDeleteMixin:
    """Mixin to delete a row without permissions for the related rows that are deleted too."""

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete row by row, so that `delete_model` can call the service."""
        for row in queryset:
            self.delete_model(request, row)  # type: ignore[attr-defined] # of the admin

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List only the selected rows, because they may have very many related rows."""
        rows = list(objs)
        options = self.opts  # type: ignore[attr-defined] # of the admin
        return list(map(str, rows)), {options.verbose_name_plural: len(rows)}, set(), []


class SingleDeleteAdmin(PortalAdmin):
    """Admin without bulk deletion. Each row is deleted on its own page, which shows errors."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as error:
            messages.error(request, str(error))
            return redirect(list_url(self))


class ReadOnlyAdmin(PortalAdmin):
    """Admin of rows that only services write. Users can view the rows and run actions."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return True if the user may run the actions. They require the change permission."""
        options = self.opts
        return request.user.has_perm(f"{options.app_label}.change_{options.model_name}")


class ReadOnlyInline(TabularInline):
    """Show related rows on the page of a row. They cannot be edited there."""

    extra = 0
    can_delete = False
    show_change_link = False
    show_title = False
    if not hasattr(TabularInline, "show_title"):  # unfold for Python 3.11
        hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        return visible_to(signed_in_user(request), self.model)


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of an action for one row, or the reason why it failed."""

    subject: str
    done: bool
    sentence: str


def run_for_each(
    rows: Iterable[M],
    action: Callable[[M], str],
    *,
    of_tenant: Callable[[M], Any] = attrgetter("tenant_id"),
) -> list[ActionResult]:
    """Run an action for each row, in the scope of the row's tenant.

    An error of one row does not stop the others. Rows without a tenant are processed in
    the current scope.

    Args:
        action: a function that takes a row and returns the message of the result.
        of_tenant: a function that returns the tenant id of a row, or None.
    """
    outcomes = []
    for row in rows:
        tenant_id = of_tenant(row)
        try:
            with tenant_scope(tenant_id) if tenant_id else nullcontext():
                sentence = action(row)
        except DomainError as error:
            outcomes.append(ActionResult(str(row), False, str(error)))
        else:
            outcomes.append(ActionResult(str(row), True, sentence))
    return outcomes


def results_page(
    admin: ModelAdmin, request: HttpRequest, title: str, outcomes: list[ActionResult]
) -> HttpResponse:
    """Return the page that shows the result of an action for each row."""
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "outcomes": outcomes,
        "done": sum(outcome.done for outcome in outcomes),
        "refused": sum(not outcome.done for outcome in outcomes),
        "back": list_url(admin),
    }
    return TemplateResponse(request, "portal/report.html", context)


def confirmation_page(
    admin: ModelAdmin,
    request: HttpRequest,
    *,
    title: str,
    action: str,
    rows: models.QuerySet[Any],
    explanation: str,
    choices: Iterable[tuple[str, str]] = (),
    button: str,
    most: int = MAX_ROWS_PER_ACTION,
) -> HttpResponse:
    """Return the page that asks for confirmation of an action that cannot be undone.

    The page says how many rows are selected, and shows the first of them.

    Args:
        action: name of the admin action to run after confirmation.
        rows: the selected rows. At most `most` of them are changed.
        choices: values and labels of the reasons from which the user chooses one. If empty,
            no choice is shown.
        button: label of the button that confirms.
        most: more than `MAX_ROWS_PER_ACTION` only for an action that changes all rows that match
            the filters of the list in batches.
    """
    is_across = most > MAX_ROWS_PER_ACTION and request.POST.get("select_across") == "1"
    changed = list(rows[: MAX_EXAMPLES if is_across else MAX_ROWS_PER_ACTION])
    count = len(rows.order_by().values_list("pk", flat=True)[: most + 1])
    limit = most if is_across else MAX_ROWS_PER_ACTION
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "action": action,
        "examples": changed[:MAX_EXAMPLES],
        "others": max(0, min(count, limit) - MAX_EXAMPLES),
        "ids": [row.pk for row in changed[: 1 if is_across else None]],
        "is_across": is_across,
        "count": min(count, limit),
        "is_limited": count > limit,
        "explanation": explanation,
        "choices": list(choices),
        "button": button,
        "checkbox": ACTION_CHECKBOX_NAME,
        "back": list_url(admin),
    }
    return TemplateResponse(request, "portal/confirm.html", context)


def confirmed_action(
    *,
    description: str,
    explanation: str,
    button: str,
    choices: Sequence[tuple[str, str]] = (),
    permissions: Sequence[str] = ("change",),
    most: int = MAX_ROWS_PER_ACTION,
) -> Callable[[Action], Action]:
    """Declare an action on selected rows that asks for confirmation first.

    The arguments are those of `confirmation_page`.
    """

    def declare(action: Action) -> Action:
        @django_admin.action(description=description, permissions=permissions)
        @wraps(action)
        def ask_or_run(self: Any, request: HttpRequest, rows: models.QuerySet[Any]) -> HttpResponse:
            if "confirmed" in request.POST:
                return action(self, request, rows)
            return confirmation_page(
                self,
                request,
                title=description,
                action=action.__name__,
                rows=rows,
                explanation=explanation,
                choices=choices,
                button=button,
                most=most,
            )

        return ask_or_run

    return declare


def secret_page(
    admin: ModelAdmin,
    request: HttpRequest,
    *,
    title: str,
    secrets: dict[str, str],
    template: str = "portal/secret.html",
) -> HttpResponse:
    """Return a page that shows new secrets once. The page must not be cached."""
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "secrets": secrets,
        "back": list_url(admin),
    }
    response = TemplateResponse(request, template, context)
    response["Cache-Control"] = "no-store"
    return response


def list_url(admin: ModelAdmin) -> str:
    options = admin.opts
    return reverse(f"admin:{options.app_label}_{options.model_name}_changelist")


def _is_list_page(request: HttpRequest, admin: ModelAdmin) -> bool:
    name = f"{admin.opts.app_label}_{admin.opts.model_name}"
    lists = tuple(f"{name}_{page}" for page in ("changelist", "export", "export_workbook"))
    return request.resolver_match is not None and request.resolver_match.url_name in lists


def signed_in_user(request: HttpRequest) -> User:
    """Return the signed-in user. All pages of the portal require a signed-in user."""
    assert isinstance(request.user, User)
    return request.user


def _has_tenant(model: type[models.Model]) -> bool:
    return any(field.name == "tenant" for field in model._meta.get_fields())
