"""The page on which a member lets a box in that shows a code."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.middleware import memberships_of, second_factor_shown
from accounts.services import second_factor
from core.errors import DomainError
from devices.registry.errors import NoSuchCode, PairingDecided, TooManyPairings
from devices.registry.models import Device, Pairing
from devices.registry.services import pairing
from tenants.admin.base import person
from tenants.admin.forms import text
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Role, Tenant


class CodeForm(forms.Form):
    """The code that the box shows, however it is typed."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autofocus": True, "autocapitalize": "characters", "size": 12}
        ),
        help_text="Eight letters, as the screen shows them.",
    )


class ApprovalForm(forms.Form):
    """Into which tenant, under which name, with which tags."""

    pairing = forms.UUIDField(widget=forms.HiddenInput)
    tenant = forms.ModelChoiceField(
        label="Tenant",
        queryset=Tenant.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        empty_label=None,
    )
    name = text("Name", length=120, help_text="Empty: as the box calls itself.")
    tags = text("Tags", length=500, help_text="Separated by commas.")


@never_cache
def pair(request: HttpRequest) -> HttpResponse:
    """Type the code, see which box it is, confirm."""
    choices = tenants_to_pair_for(request)
    if not choices:
        raise PermissionDenied
    if request.method == "POST" and "pairing" in request.POST:
        return _decide(request, choices)
    code = request.POST.get("code") or request.GET.get("code", "")
    if not code:
        return _page(request, form=CodeForm())
    try:
        found = pairing.find(code, now=timezone.now())
    except (NoSuchCode, TooManyPairings) as error:
        form = CodeForm({"code": code})
        form.add_error("code", str(error))
        return _page(request, form=form)
    named = {
        "pairing": found.pk,
        "tenant": current_tenant_id(),
        "name": found.box["name"],
    }
    return _page(request, approval=_approval(choices, initial=named), found=found)


def tenants_to_pair_for(request: HttpRequest) -> list[Any]:
    """The ids of the tenants in which this person may register devices now.

    A tenant that requires a second factor wants it shown, whichever tenant the
    session has chosen.
    """
    user = person(request)
    shown = second_factor_shown(request, second_factor.mark(user))
    if user.is_superuser:
        return list(Tenant.objects.values_list("pk", flat=True)[:1000])
    return [
        membership.tenant_id
        for membership in memberships_of(user)
        if Role(membership.role).includes(Device.managed_by)
        and (shown or not membership.tenant.requires_second_factor)
    ]


def _decide(request: HttpRequest, choices: list[Any]) -> HttpResponse:
    form = _approval(choices, data=request.POST)
    found = _waiting(request.POST.get("pairing", ""))
    if found is None:
        messages.error(request, "That box is not waiting any more.")
        return redirect("admin:pair")
    if "deny" in request.POST:
        return _done(
            request, lambda: pairing.deny(pairing_id=found.pk, now=timezone.now())
        )
    if not form.is_valid():
        return _page(request, approval=form, found=found)
    said = form.cleaned_data
    try:
        with tenant_scope(said["tenant"].pk):
            device = pairing.approve(
                pairing_id=found.pk,
                name=said["name"],
                tags=said["tags"].split(","),
                now=timezone.now(),
            )
    except PairingDecided as error:
        messages.error(request, str(error))
        return redirect("admin:pair")
    except DomainError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return _page(request, approval=form, found=found)
    messages.success(
        request, f"{device.name} is in {said['tenant']}; the box fetches its token now."
    )
    if device.tenant_id == current_tenant_id() or person(request).is_superuser:
        return redirect("admin:devices_device_change", device.pk)
    return redirect("admin:pair")


def _done(request: HttpRequest, act: Any) -> HttpResponse:
    try:
        act()
    except PairingDecided as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "The box was turned away.")
    return redirect("admin:pair")


def _approval(choices: list[Any], **kwargs: Any) -> ApprovalForm:
    form = ApprovalForm(**kwargs)
    field = form.fields["tenant"]
    assert isinstance(field, forms.ModelChoiceField)
    field.queryset = Tenant.objects.filter(pk__in=choices)
    return form


def _waiting(text: str) -> Pairing | None:
    try:
        pairing_id = UUID(text)
    except ValueError:
        return None
    waiting = Pairing.objects.waiting(timezone.now())
    found: Pairing | None = waiting.filter(pk=pairing_id).first()
    return found


def _page(request: HttpRequest, **more: Any) -> TemplateResponse:
    found: Pairing | None = more.get("found")
    context = {
        **admin.site.each_context(request),
        "title": "Pair a box",
        "identifiers": pairing.box_of(found).identifiers() if found else (),
        **more,
    }
    return TemplateResponse(request, "portal/pair.html", context)


def short_address(request: HttpRequest) -> HttpResponse:
    """`/pair`, which fits on a screen, leads into the portal and keeps the code."""
    code = request.GET.get("code", "")
    query = f"?{urlencode({'code': code})}" if code else ""
    return redirect(f"{reverse('admin:pair')}{query}")
