"""What the portal's pages share: whose rows they show, and how actions report back."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.paginator import InfinitePaginator

from core.errors import DomainError
from tenants.admin.forms import ServiceForm
from tenants.context import tenant_scope
from tenants.models import User
from tenants.roles import visible_to

M = TypeVar("M", bound=models.Model)
MOST_AT_ONCE = 500  # rows that one action takes; more wants a command


class PortalAdmin(ModelAdmin):
    """Shows a member the rows of their tenant, and a superuser everybody's."""

    paginator = InfinitePaginator  # no COUNT(*) over a big table
    show_full_result_count = False
    list_per_page = 50
    list_filter_submit = True
    compressed_fields = True
    warn_unsaved_form = True

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        """What no row could match is answered as Django answers a bad filter."""
        said = [*request.GET.values(), *request.POST.values()]
        try:
            if any("\x00" in value for value in said):
                raise ValidationError("NUL")
            return super().changelist_view(request, extra_context)
        except ValidationError:
            return redirect(f"{list_url(self)}?e=1")

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: bool
    ) -> None:
        """Save nothing for a `ServiceForm`, which has called its service already."""
        if not isinstance(form, ServiceForm):
            super().save_model(request, obj, form, change)

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        queryset = visible_to(person(request), self.model)
        ordering = self.get_ordering(request)
        return queryset.order_by(*ordering) if ordering else queryset

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        shown = list(super().get_list_display(request))
        if _has_tenant(self.model) and person(request).is_superuser:
            shown.insert(1, "tenant")
        return shown

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        filters = list(super().get_list_filter(request))
        if _has_tenant(self.model) and person(request).is_superuser:
            filters.insert(0, "tenant")
        return filters

    def formfield_for_foreignkey(
        self, db_field: Any, request: HttpRequest, **kwargs: Any
    ) -> Any:
        related = db_field.remote_field.model
        kwargs.setdefault("queryset", visible_to(person(request), related))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)


class OneRowAdmin(PortalAdmin):
    """What each tenant has one of, whose form calls the service: a policy.

    A member is led to theirs; without one the usual holds.
    """

    usual: ClassVar[str]  # what holds without a row, in a sentence

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        if person(request).is_superuser or not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        pages = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        row = self.get_queryset(request).first()
        if row is not None:
            return redirect(reverse(f"{pages}_change", args=[row.pk]))
        if self.has_add_permission(request):
            return redirect(f"{pages}_add")
        messages.info(request, self.usual)
        return super().changelist_view(request, extra_context)


class DeletesWhole:
    """Whoever may delete a row may delete what hangs on it and goes with it."""

    def delete_queryset(
        self, request: HttpRequest, queryset: models.QuerySet[Any]
    ) -> None:
        """Each by its service."""
        for row in queryset:
            self.delete_model(request, row)  # type: ignore[attr-defined] # an admin's

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Only the rows themselves are named: what hangs on them may be very much."""
        chosen = list(objs)
        options = self.opts  # type: ignore[attr-defined] # an admin's
        return (
            list(map(str, chosen)),
            {options.verbose_name_plural: len(chosen)},
            set(),
            [],
        )


class ReadOnlyAdmin(PortalAdmin):
    """Rows that only services write: they are looked at here, and acted on."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the actions are this person's: what changing a row would ask for."""
        options = self.opts
        return request.user.has_perm(f"{options.app_label}.change_{options.model_name}")


class ReadOnlyInline(TabularInline):
    """What hangs on a row, looked at on its page."""

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
        return visible_to(person(request), self.model)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action did to one row, or why it was refused."""

    subject: str
    done: bool
    sentence: str


def act_on_each(
    rows: Iterable[M],
    verb: Callable[[M], str],
    *,
    of_tenant: Callable[[M], Any] = attrgetter("tenant_id"),
) -> list[Outcome]:
    """Do something to each row under its own tenant; a refusal stops no other row.

    What is of no tenant is acted on under the scope of the person.
    """
    outcomes = []
    for row in rows:
        tenant_id = of_tenant(row)
        try:
            with tenant_scope(tenant_id) if tenant_id else nullcontext():
                sentence = verb(row)
        except DomainError as error:
            outcomes.append(Outcome(str(row), False, str(error)))
        else:
            outcomes.append(Outcome(str(row), True, sentence))
    return outcomes


def report_page(
    admin: ModelAdmin, request: HttpRequest, title: str, outcomes: list[Outcome]
) -> HttpResponse:
    """Row by row what was done and what was refused."""
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
    rows: Iterable[models.Model],
    explanation: str,
    choices: Iterable[tuple[str, str]] = (),
    button: str,
) -> HttpResponse:
    """Ask once more, with a reason to choose, before something that has no undo."""
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "action": action,
        "rows": list(rows),
        "explanation": explanation,
        "choices": list(choices),
        "button": button,
        "checkbox": ACTION_CHECKBOX_NAME,
        "back": list_url(admin),
    }
    return TemplateResponse(request, "portal/confirm.html", context)


def secret_page(
    admin: ModelAdmin, request: HttpRequest, *, title: str, secrets: dict[str, str]
) -> HttpResponse:
    """Show a secret this once: it goes to the page and nowhere else."""
    context = {
        **admin.admin_site.each_context(request),
        "title": title,
        "opts": admin.opts,
        "secrets": secrets,
        "back": list_url(admin),
    }
    response = TemplateResponse(request, "portal/secret.html", context)
    response["Cache-Control"] = "no-store"
    return response


def list_url(admin: ModelAdmin) -> str:
    options = admin.opts
    return reverse(f"admin:{options.app_label}_{options.model_name}_changelist")


def person(request: HttpRequest) -> User:
    """Who is signed in; the portal lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user


def _has_tenant(model: type[models.Model]) -> bool:
    return any(field.name == "tenant" for field in model._meta.get_fields())
